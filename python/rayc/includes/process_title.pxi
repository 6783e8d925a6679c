# This process, as others see it.

def set_process_title(str title not None):
    """Set what ps shows, within the room that the command line of this process has."""
    show_title(title.encode("utf-8", "replace"))


def become_subreaper():
    """Become the parent of orphans among this process's descendants."""
    if BecomeSubreaper() != 0:
        raise OSError("PR_SET_CHILD_SUBREAPER failed")


def die_with_parent(int expected_parent_pid):
    """Have this process killed when its parent ends; False if that is gone already."""
    return DieWithParent(expected_parent_pid)
