# The zygote's socket to its raylet (zygote_channel.h).

@cython.final
cdef class Zygote:
    """The zygote's end of its socket to the raylet. One thread."""

    def __init__(self, int fd):
        self._channel.reset(new CZygoteChannel(fd))

    def ready(self):
        """Say that forks may be asked for."""
        check_status(self._channel.get().SendForked(0, 0, string()))

    def receive(self, int timeout_ms):
        """Return the next request as a tuple, None at the timeout or a signal; see _raylet.pyi."""
        cdef CZygoteRequest request
        cdef CStatus status
        with nogil:
            status = self._channel.get().Receive(timeout_ms, &request)
        check_status(status)
        if request.kind == CZygoteRequestKind.kFork:
            return (
                "fork",
                request.fork_token,
                worker_id_of(request.worker_id).binary(),
                request.stdout_fd,
                request.stderr_fd,
            )
        if request.kind == CZygoteRequestKind.kShutdown:
            return ("shutdown",)
        if request.kind == CZygoteRequestKind.kClosed:
            return ("closed",)
        return None

    def forked(self, uint64_t fork_token, int pid, str error=""):
        """Report a fork; pid -1: it failed."""
        check_status(self._channel.get().SendForked(fork_token, pid, to_string(error)))

    def reaped(self, int pid, int status):
        """Report the end of a child, as waitpid gave it."""
        check_status(self._channel.get().SendReaped(pid, status))

    def close(self):
        """Close this process's copy of the socket."""
        self._channel.get().Close()
