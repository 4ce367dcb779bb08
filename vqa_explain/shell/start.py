"""Where the command begins: next to nothing is imported before Ctrl-C is told in one line."""


def main() -> None:
    """Runs the command; one that is stopped while it starts says so, as it does later."""
    try:
        from vqa_explain.shell.app import main as run

        run()
    except KeyboardInterrupt:
        from vqa_explain.shell import terminal

        terminal.stop()


if __name__ == "__main__":
    main()
