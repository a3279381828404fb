"""Teachers: vision-language models behind one protocol, their budget and the ledger of calls.

`protocol` says what a teacher is, `opening` opens one by name; `ask` asks many questions once each
within a budget, by the ledger in `calls`; `call_export` tells its status and publishes it;
`parsing` reads structured answers, `estimate` and `prices` say beforehand what a run would cost.
"""
