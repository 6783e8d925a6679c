# What the Python part of rayc gives the extension to call.

cdef object _get_execution_info = None
cdef object _load_actor_class = None
cdef object _make_task_error = None
cdef dict _actors = {}
cdef dict _execution_infos = {}
cdef object _exceptions = None
cdef object _before_first_task = None
cdef object _flush_logs = None
cdef object _apply_resources = None


def install_hooks(
    *,
    get_execution_info,
    load_actor_class,
    make_task_error,
    dict actors,
    dict execution_infos,
    exceptions,
    before_first_task,
    flush_logs=None,
    apply_resources=None,
):
    """Give the extension what it calls; see _raylet.pyi."""
    global _get_execution_info, _load_actor_class, _make_task_error, _actors, _execution_infos
    global _exceptions, _before_first_task, _flush_logs, _apply_resources
    _get_execution_info = get_execution_info
    _load_actor_class = load_actor_class
    _make_task_error = make_task_error
    _actors = actors
    _execution_infos = execution_infos
    _exceptions = exceptions
    _before_first_task = before_first_task
    _flush_logs = flush_logs
    _apply_resources = apply_resources


cdef object exceptions_module():
    """rayc.exceptions, imported only when there is something to raise."""
    global _exceptions
    if _exceptions is None:
        import rayc.exceptions as module

        _exceptions = module
    return _exceptions


cdef object setting(str name):
    """The environment variable RAYC_<name>, else RAY_<name>, else None."""
    value = os.environ.get("RAYC_" + name)
    return os.environ.get("RAY_" + name) if value is None else value
