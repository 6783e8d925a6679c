# CoreWorker: src/core_worker's facade. Every call that may block runs without the GIL.

@cython.final
cdef class CoreWorker:
    """One per process and session. Raises the exceptions of rayc.exceptions."""

    def __init__(
        self,
        *,
        int mode,
        str session_dir not None,
        str namespace="",
        str entrypoint="",
        bytes job_config=b"",
        bint owns_cluster=False,
        uint64_t fork_token=0,
        bytes worker_id=b"",
        str log_level="warning",
    ):
        global current_core, current_generation, current_worker, records_call_sites
        cdef CCoreWorkerOptions options
        cdef CStatus status
        if current_core != NULL:
            raise RuntimeError("this process has a CoreWorker already")
        options.mode = <CWorkerMode>mode
        options.session_dir = to_string(session_dir)
        options.name_space = to_string(namespace)
        options.entrypoint = to_string(entrypoint)
        options.job_config = to_string(job_config)
        options.owns_cluster = owns_cluster
        options.fork_token = fork_token
        if worker_id:
            options.worker_id = IdFrom[CWorkerId](WorkerID(worker_id)._bytes)
        records_call_sites = setting("record_ref_creation_sites") in ("1", "true", "True")
        options.records_call_sites = records_call_sites
        options.log_level = ParseLogLevel(to_string(log_level), CLogLevel.kWarning)
        options.bridge.execute_task = &execute_task
        options.bridge.check_signals = &check_signals
        options.bridge.interrupt_main = &InterruptMainThread
        with nogil:
            status = StartCoreWorker(move(options), &self._core)
        check_status(status)
        self.session_dir = session_dir
        session_names.append(os.path.basename(session_dir.rstrip("/")))
        current_generation = len(session_names) - 1
        self._generation = current_generation
        current_core = self._core.get()
        current_worker = self
        SetHasSession(True)

    def __dealloc__(self):
        if fork_state.is_fork:
            self._core.release()  # the parent's
            return
        with nogil:
            self._core.reset()

    cdef CCoreWorker* core(self) except NULL:
        if fork_state.is_fork:
            refuse_fork()
        if self._generation == 0 or self._core.get() == NULL:
            raise exceptions_module().RaySystemError("rayc has been shut down")
        return self._core.get()

    @property
    def job_id(self):
        """The job; nil in a worker before its first task."""
        return job_id_of(self.core().job_id())

    @property
    def node_id(self):
        """The node that this process runs on."""
        return node_id_of(self.core().node_id())

    @property
    def worker_id(self):
        """This process."""
        return worker_id_of(self.core().self().worker_id)

    # ---- tasks and actors ----

    def submit_task(self, SubmitOptions options not None, args, kwarg_names):
        """Submit a task; returns the references of what it returns."""
        cdef CCoreWorker* core = self.core()
        cdef vector[CTaskArg] built
        cdef vector[CObjectId] returns
        held = []
        build_args(core, args, kwarg_names, &built, held)
        declare_task()
        check_status(core.SubmitTask(options._options, move(built), &returns))
        return with_call_sites(core, new_refs(returns))

    def create_actor(
        self, SubmitOptions options not None, ActorOptions actor not None, args, kwarg_names
    ):
        """Create an actor; returns the reference that stands for its handle."""
        cdef CCoreWorker* core = self.core()
        cdef vector[CTaskArg] built
        cdef CActorCreationSpec creation = actor._creation
        cdef CObjectId handle
        cdef CStatus status
        held = []
        declare_task()
        build_args(core, args, kwarg_names, &built, held)
        with nogil:
            status = core.CreateActor(options._options, move(creation), move(built), &handle)
        check_status(status)
        return with_call_site(core, new_ref(handle))

    def submit_actor_task(
        self,
        ActorID actor_id not None,
        SubmitOptions options not None,
        args,
        kwarg_names,
        int max_task_retries=0,
        int max_pending_calls=-1,
    ):
        """Call a method of an actor; returns the references of what it returns."""
        cdef CCoreWorker* core = self.core()
        cdef CActorId actor = IdFrom[CActorId](actor_id._bytes)
        cdef vector[CTaskArg] built
        cdef vector[CObjectId] returns
        held = []
        build_args(core, args, kwarg_names, &built, held)
        if max_pending_calls >= 0 and core.NumPendingCalls(actor) >= <size_t>max_pending_calls:
            raise exceptions_module().PendingCallsLimitExceeded(
                f"{call_name_of(options.descriptor)}() is not submitted: {max_pending_calls} calls "
                "of this process to the actor are pending, as many as its max_pending_calls allows"
            )
        declare_task()
        check_status(
            core.SubmitActorTask(
                actor,
                options._options,
                move(built),
                max_task_retries,
                &returns,
            )
        )
        return with_call_sites(core, new_refs(returns))

    def kill_actor(self, ActorID actor_id not None, bint no_restart):
        """End an actor at once."""
        cdef CCoreWorker* core = self.core()
        cdef CActorId actor = IdFrom[CActorId](actor_id._bytes)
        cdef CStatus status
        with nogil:
            status = core.KillActor(actor, no_restart)
        check_status(status)

    def cancel_task(self, ObjectRef ref not None, bint force, bint recursive):
        """Cancel the task that makes this object, unless it has ended."""
        cdef CCoreWorker* core = self.core()
        cdef CObjectId id
        cdef CStatus status
        check_ref(ref)
        id = IdFrom[CObjectId](ref._bytes)
        with nogil:
            status = core.CancelTask(id, force, recursive)
        check_status(status)

    def get_named_actor(self, str name not None, str namespace not None):
        """Return (actor id, handle state), or None."""
        cdef CCoreWorker* core = self.core()
        cdef string c_name = to_string(name)
        cdef string c_namespace = to_string(namespace)
        cdef c_bool found = False
        cdef CNamedActor actor
        cdef CStatus status
        with nogil:
            status = GetNamedActor(deref(core), c_name, c_namespace, &found, &actor)
        check_status(status)
        if not found:
            return None
        return actor_id_of(actor.actor_id), to_bytes(actor.handle_state)

    def list_named_actors(self, bint all_namespaces, str namespace not None):
        """Return (namespace, name) of the living actors that have a name."""
        cdef CCoreWorker* core = self.core()
        cdef string c_namespace = to_string(namespace)
        cdef vector[pair[string, string]] actors
        cdef CStatus status
        with nogil:
            status = ListNamedActors(deref(core), all_namespaces, c_namespace, &actors)
        check_status(status)
        return [(to_str(actor.first), to_str(actor.second)) for actor in actors]

    # ---- objects ----

    def put(self, value):
        """Store a copy of the value; returns its reference."""
        cdef CCoreWorker* core = self.core()
        cdef CObjectValue stored
        cdef CObjectId id
        cdef SerializedValue serialized
        cdef vector[CObjectRefInfo] nested
        cdef uint64_t size
        if not encode_plain(value, &stored):
            serialized = serialize(value)
            if serialized.size > kInlineBytesMax:
                return put_in_plasma(core, serialized)
            stored = to_heap(serialized)
            nested = serialized.nested
        size = stored.data.get().size()
        id = core.NextPutId()
        core.Put(id, move(stored), size, nested)
        return with_call_site(core, new_ref(id))

    def get(self, refs, int64_t timeout_ms=-1, bint copy=False):
        """Return the values in order; raises the error of the first that failed.

        With `copy`, their arrays can be written to.
        """
        cdef CCoreWorker* core = self.core()
        cdef vector[CObjectId] ids
        cdef vector[CObjectValue] values
        cdef CStatus status
        cdef size_t i
        ids.reserve(len(refs))
        for ref in refs:
            check_ref(<ObjectRef?>ref)
            ids.push_back(IdFrom[CObjectId]((<ObjectRef>ref)._bytes))
        declare_task()
        if is_async_actor and timeout_ms != 0:
            warn_of_blocking_get()
        with nogil:
            status = core.Get(ids, timeout_ms, &values)
        if core.TakePrinted():
            self._show_logs()
        if status.code() == CStatusCode.kTimedOut:
            raise exceptions_module().GetTimeoutError(timeout_message(len(refs), timeout_ms))
        check_status(status)
        for i in range(values.size()):
            if values[i].data.get() != NULL and IsErrorMetadata(values[i].metadata):
                deserialize(values[i], ids[i])
        results = []
        for i in range(values.size()):
            if values[i].data.get() == NULL:
                raise exceptions_module().RaySystemError("an object has neither value nor error")
            results.append(deserialize(values[i], ids[i], copy))
        return results

    def _show_logs(self):
        """What the tasks printed whose results are here, before these results are seen."""
        cdef CCoreWorker* core = self.core()
        with nogil:
            core.Poll()
        if _flush_logs is not None:
            _flush_logs()

    def wait(self, list refs not None, size_t num_returns, int64_t timeout_ms, bint fetch_local):
        """Return (ready, not ready), in the order of `refs`; None if they are not all ObjectRefs.

        A reference that is there twice is a ValueError.
        """
        cdef CCoreWorker* core = self.core()
        cdef vector[CObjectId] ids
        cdef vector[c_bool] ready
        cdef CStatus status
        cdef size_t count = len(refs)
        cdef size_t i
        if check_waited(refs) == 0:
            return None
        declare_task()
        if not front_is_ready(core, refs, num_returns) and timeout_ms != 0:
            refs = refs.copy()  # other threads may change theirs meanwhile
            ids.reserve(count)
            for ref in refs:
                ids.push_back(IdFrom[CObjectId]((<ObjectRef>ref)._bytes))
            with nogil:
                status = core.Wait(ids, num_returns, timeout_ms, &ready)
            check_status(status)
            for i in range(count):
                if ready[i]:
                    (<ObjectRef>refs[i])._known_ready = True
        if core.TakePrinted():
            self._show_logs()
        return split_waited(refs, num_returns)

    # ---- GCS ----

    def kv_put(self, bytes key not None, bytes value not None, str namespace not None,
               bint overwrite=True):
        """Set a key; returns whether it existed."""
        cdef CCoreWorker* core = self.core()
        cdef string c_key = to_string(key)
        cdef string c_value = to_string(value)
        cdef string c_namespace = to_string(namespace)
        cdef c_bool existed = False
        cdef CStatus status
        with nogil:
            status = KvPut(deref(core), c_namespace, c_key, c_value, overwrite, &existed)
        check_status(status)
        return existed

    def kv_get(self, bytes key not None, str namespace not None, int32_t wait_ms=0):
        """Return a key's value, or None; waits so long for the key to appear."""
        cdef CCoreWorker* core = self.core()
        cdef string c_key = to_string(key)
        cdef string c_namespace = to_string(namespace)
        cdef c_bool found = False
        cdef string value
        cdef CStatus status
        with nogil:
            status = KvGet(deref(core), c_namespace, c_key, wait_ms, &found, &value)
        check_status(status)
        return to_bytes(value) if found else None

    def kv_del(self, bytes key not None, str namespace not None, bint by_prefix=False):
        """Delete a key, or all with this prefix; returns how many there were."""
        cdef CCoreWorker* core = self.core()
        cdef string c_key = to_string(key)
        cdef string c_namespace = to_string(namespace)
        cdef uint32_t count = 0
        cdef CStatus status
        with nogil:
            status = KvDel(deref(core), c_namespace, c_key, by_prefix, &count)
        check_status(status)
        return count

    def kv_keys(self, bytes prefix not None, str namespace not None):
        """Return the keys that begin with the prefix."""
        cdef CCoreWorker* core = self.core()
        cdef string c_prefix = to_string(prefix)
        cdef string c_namespace = to_string(namespace)
        cdef vector[string] keys
        cdef CStatus status
        with nogil:
            status = KvKeys(deref(core), c_namespace, c_prefix, &keys)
        check_status(status)
        return [to_bytes(key) for key in keys]

    def get_nodes(self):
        """Return what is known of each node."""
        cdef CCoreWorker* core = self.core()
        cdef vector[CNodeRecord] nodes
        cdef CStatus status
        cdef size_t i
        with nogil:
            status = GetNodes(deref(core), &nodes)
        check_status(status)
        return [node_dict(nodes[i]) for i in range(nodes.size())]

    def get_job_config(self, JobID job_id not None):
        """Return the config with which a job's driver started."""
        cdef CCoreWorker* core = self.core()
        cdef CJobId job = IdFrom[CJobId](job_id._bytes)
        cdef string config
        cdef CStatus status
        with nogil:
            status = GetJobConfig(deref(core), job, &config)
        check_status(status)
        return to_bytes(config)

    # ---- the current task of the calling thread ----

    def get_current_task_spec(self):
        """Return the task that this thread runs, or None."""
        cdef CTaskContext* context = current_task()
        return None if context == NULL else task_specification_of(context.spec)

    def get_current_task_id(self):
        """Return the task that this thread runs; nil if none."""
        cdef CTaskContext* context = current_task()
        return task_id_of(CTaskId() if context == NULL else context.spec.get().task_id)

    def get_current_actor_id(self):
        """Return the actor that lives in this process, or is being made; nil if none."""
        cdef CTaskContext* context = current_task()
        if context == NULL or context.spec.get().type == CTaskType.kNormal:
            return actor_id_of(own_actor_id)
        return actor_id_of(actor_id_in(deref(context.spec)))

    def get_current_task_name(self):
        """Return the name of the task that this thread runs; "" if none."""
        cdef CTaskContext* context = current_task()
        return "" if context == NULL else to_str(context.spec.get().name)

    def is_current_task_cancelled(self):
        """Return whether the task that this thread runs was cancelled."""
        cdef CTaskContext* context = current_task()
        return context != NULL and IsCancelled(deref(context))

    def is_in_async_actor(self):
        """Return whether the actor of this process has an event loop."""
        return is_async_actor

    def was_actor_restarted(self):
        """Return whether the actor of this process is not the first of its id."""
        return own_attempt > 0

    def get_assigned_instances(self):
        """Return the instances (of GPUs) that this worker's lease gives it, by resource."""
        cdef CTaskContext* context = current_task()
        if context != NULL and context.spec.get().type != CTaskType.kActor:
            return instances_dict(context.assigned)
        return dict(own_instances)

    def get_assigned_resources(self):
        """Return the amounts of resources that the task, or this worker's actor, holds."""
        cdef CTaskContext* context = current_task()
        if context != NULL and context.spec.get().type != CTaskType.kActor:
            return resources_dict(context.spec.get().resources)
        return dict(own_resources)

    # ---- the life of the process ----

    def run_task_loop(self):
        """Run tasks until told to leave; raises SystemExit if the exit code is not 0."""
        cdef CCoreWorker* core = self.core()
        cdef int exit_code = 0
        global interrupt_error
        SetThreadName(b"rayc::worker")
        show_title(idle_title)
        with nogil:
            exit_code = core.RunTaskLoop()
        if interrupt_error is not None:
            error = interrupt_error
            interrupt_error = None
            raise error
        if exit_code != 0:
            raise SystemExit(exit_code)

    def exit_detail(self):
        """Return why the task loop ended, for people."""
        return to_str(self.core().exit_detail())

    def take_logs(self, int64_t timeout_ms):
        """Return (name, pid, is_stderr, line) of workers; None after the shutdown."""
        cdef vector[CLogLine] lines
        cdef CStatus status
        cdef CCoreWorker* core = self._core.get()
        if core == NULL or fork_state.is_fork:
            return None
        with nogil:
            status = core.TakeLogs(timeout_ms, &lines)
        if not status.ok():
            return None
        return [(to_str(line.name), line.pid, line.is_stderr, to_str(line.text)) for line in lines]

    def wait_logs(self, int64_t timeout_ms):
        """Wait until there are lines to take, or the time is over; see take_logs."""
        cdef CCoreWorker* core = self._core.get()
        if core != NULL and not fork_state.is_fork:
            with nogil:
                core.WaitLogs(timeout_ms)

    def announce_exit(self, int exit_code, str detail not None):
        """Say that this process is about to leave on purpose."""
        self.core().AnnounceExit(exit_code, to_string(detail))

    def shutdown(self):
        """Disconnect; with owns_cluster, end the cluster first."""
        global current_core, current_worker
        cdef CCoreWorker* core = self._core.get()
        if self._generation == 0 or fork_state.is_fork:
            return
        self._generation = 0
        if current_core == core:
            current_core = NULL
            current_worker = None
            owner_tuples.clear()
            SetHasSession(False)
        if self._completions is not None:
            self._completions.close()
            self._completions = None
        with nogil:
            core.Shutdown()

    def is_connected(self):
        """Return whether the cluster can be reached."""
        return self._generation != 0 and not fork_state.is_fork and self._core.get().connected()

    def set_title(self, str title not None):
        """Set what ps shows of this process."""
        set_process_title(title)


cdef str timeout_message(size_t count, int64_t timeout_ms):
    what = "the object was not" if count == 1 else f"not all of the {count} objects were"
    return f"get() timed out: {what} ready after {timeout_ms / 1000:g} s"


cdef dict node_dict(const CNodeRecord& node):
    return {
        "node_id": node_id_of(node.node_id),
        "ip": to_str(node.ip),
        "hostname": to_str(node.hostname),
        "raylet_socket": to_str(node.raylet_socket),
        "plasma_socket": to_str(node.plasma_socket),
        "is_alive": node.is_alive,
        "is_head": node.is_head,
        "resources": resources_dict(node.resources),
        "available": resources_dict(node.available),
        "death_reason": to_str(node.death_reason),
    }
