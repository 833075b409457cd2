"""`python -P -m stream_app` is `nextact`; without `-P` a `model.py` in the working folder would hide our package."""

from stream_app.cli.main import main

if __name__ == "__main__":
    main()
