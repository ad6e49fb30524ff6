"""``python -m pipeline``: the command line."""

from pipeline.app import main

if __name__ == "__main__":
    main()
