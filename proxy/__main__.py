"""`python -m proxy` is `wskeeper`."""

from proxy.cli.main import main

if __name__ == "__main__":
    main(prog_name="wskeeper")
