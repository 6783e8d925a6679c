# The session of this process, as the extension's objects see it.
#
# There is at most one core worker at a time; sessions are counted by generations, from 1. All of it
# is written with the GIL held. `current_core` is null before the first session, and from the first
# moment of a shutdown on: so nothing here uses a core worker that is going away. Calls that run
# without the GIL hold the Python object CoreWorker, which owns the C++ one.

cdef extern from "common/version.h" namespace "rayc":
    const char* kVersion

build_version = kVersion.decode("ascii")

cdef CCoreWorker* current_core = NULL
cdef uint32_t current_generation = 0
cdef CoreWorker current_worker = None
cdef list session_names = ["(no session)"]  # by generation


cdef int refuse_fork() except -1:
    name = session_names[len(session_names) - 1]
    raise RuntimeError(
        f"This process (pid {os.getpid()}) is a fork of process {fork_state.owner_pid}, which owns "
        f"the rayc session {name!r}. A fork cannot use it: start the child with the 'spawn' "
        "method, or use tasks."
    )


cdef inline int check_ref(ObjectRef ref) except -1:
    """Raise if the reference is of another session, or this process is a fork."""
    if fork_state.is_fork:
        refuse_fork()
    if ref._generation != current_generation and ref._generation != 0:
        refuse_stale(ref)
    return 0


cdef int refuse_stale(ObjectRef ref) except -1:
    now = "there is no session now"
    if current_core != NULL:
        now = f"the session now is {session_names[current_generation]!r}"
    error = ValueError(
        f"{ref!r} belongs to the session {session_names[ref._generation]!r}, which has ended; {now}"
    )
    error.of_earlier_session = True  # so that it is not taken for trouble of the pickler's
    raise error


cdef CCoreWorker* core_now() except NULL:
    """The core worker, for a task that runs while this process may be on its way out."""
    if current_core == NULL:
        raise exceptions_module().RaySystemError("rayc has been shut down")
    return current_core
