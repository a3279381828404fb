"""The ledger of calls: nothing is asked, or paid, twice."""
