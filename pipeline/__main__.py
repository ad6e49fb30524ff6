"""``python -m pipeline`` and ``descent-sweeps``: the command line."""

from pipeline.entry import run_command


def main() -> None:
    """Run the command line."""
    run_command("pipeline.cli.app")


if __name__ == "__main__":
    main()
