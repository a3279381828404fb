"""`python -m finedata`, which `torchrun -m finedata` needs: the same command line."""

from finedata.cli import main

if __name__ == "__main__":
    main()
