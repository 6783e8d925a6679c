# Futures of objects: one thread per session, made with the first future, that calls back when an
# object is ready. The core worker's threads put ids into a queue; this thread takes them out and
# reads the values: nobody on the core worker's side ever waits for the GIL.

@cython.final
cdef class CompletionThread:
    """Serves the futures of a session."""

    def __cinit__(self, CoreWorker core_worker not None):
        self._core_worker = core_worker
        self._queue = NewReadyQueue()
        self._pending = {}
        self._thread = None

    cdef int add(self, ObjectRef ref, object callback) except -1:
        cdef bytes key = ref.binary()
        waiting = self._pending.get(key)
        if waiting is not None:
            waiting.append((ref, callback))
            return 0
        self._pending[key] = [(ref, callback)]
        cdef CStatus status = WatchObject(
            deref(self._core_worker.core()), IdFrom[CObjectId](ref._bytes), self._queue
        )
        if not status.ok():
            del self._pending[key]
            check_status(status)
        if self._thread is None:
            import threading

            self._thread = threading.Thread(target=self._run, name="rayc-futures", daemon=True)
            self._thread.start()
        return 0

    def _run(self):
        while True:
            keys = self.take()
            if not keys:
                break
            for key in keys:
                for ref, callback in self._pending.pop(key, ()):
                    self._complete(ref, callback)
                ref = callback = None
        ended = exceptions_module().RaySystemError("the session ended before the object was ready")
        while self._pending:
            for _, callback in self._pending.popitem()[1]:
                call_back(callback, ended, True)

    cdef object take(self):
        cdef vector[CObjectId] ids
        cdef CReadyQueue* queue = self._queue.get()
        with nogil:
            ids = queue.Take()
        return [PyBytes_FromStringAndSize(<const char*>id.data(), 28) for id in ids]

    def _complete(self, ref, callback):
        failed = False
        try:
            result = self._core_worker.get([ref])[0]
        except BaseException as error:
            result = error
            failed = True
        call_back(callback, result, failed)

    def close(self):
        """Fail what is pending, and end the thread."""
        self._queue.get().Close()
        thread, self._thread = self._thread, None
        if thread is not None:
            import threading

            if thread is not threading.current_thread():
                thread.join(5.0)


cdef int call_back(object callback, object result, bint failed) except -1:
    try:
        callback(result, failed)
    except Exception:
        import traceback

        traceback.print_exc()
    return 0


cdef int watch(ObjectRef ref, object callback) except -1:
    """Call callback(value or exception, whether it failed) when the object is ready."""
    check_ref(ref)
    if current_worker is None:
        raise exceptions_module().RaySystemError(
            "rayc has not been started: call rayc.init() first"
        )
    if current_worker._completions is None:
        current_worker._completions = CompletionThread(current_worker)
    return current_worker._completions.add(ref, callback)


cdef object future_of(ObjectRef ref):
    import concurrent.futures

    future = concurrent.futures.Future()
    future.object_ref = ref

    def complete(result, failed):
        try:
            if failed:
                future.set_exception(result)
            else:
                future.set_result(result)
        except concurrent.futures.InvalidStateError:
            pass  # it was cancelled

    watch(ref, complete)
    return future
