"""The ``unlearn`` command, which is also ``python -m unlearn_cli``."""

from unlearn_cli.errors import INTERRUPTED


def main() -> None:
    """Run the command; Ctrl-C while its code is still being loaded ends it without a traceback."""
    try:
        from unlearn_cli.cli.app import app

        app(prog_name="unlearn")
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
