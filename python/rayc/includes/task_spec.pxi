# TaskSpecification: a read-only view of a task.

@cython.final
cdef class TaskSpecification:
    """Read-only view of a task."""

    def __init__(self):
        raise TypeError("a TaskSpecification comes from CoreWorker, or from from_bytes()")

    @staticmethod
    def from_bytes(bytes message not None):
        """Read it from a TaskSpec message."""
        cdef shared_ptr[const CTaskSpec] spec
        if not UnpackTaskSpec(view_of(message), &spec):
            raise ValueError("this is no TaskSpec message")
        return task_specification_of(spec)

    def to_bytes(self):
        """Return it as a TaskSpec message."""
        return to_bytes(PackTaskSpec(deref(self._spec)))

    @property
    def task_id(self):
        """Its id."""
        return task_id_of(self._spec.get().task_id)

    @property
    def job_id(self):
        """The job that it belongs to."""
        return job_id_of(self._spec.get().job_id)

    @property
    def parent_task_id(self):
        """The task that submitted it."""
        return task_id_of(self._spec.get().parent_task_id)

    @property
    def actor_id(self):
        """The actor that it creates or calls; nil for a plain task."""
        return actor_id_of(actor_id_in(deref(self._spec)))

    @property
    def task_type(self):
        """A number: 0 plain task, 1 creation of an actor, 2 call of an actor, 3 driver."""
        return <int>self._spec.get().type

    @property
    def name(self):
        """Its name, for people."""
        return to_str(self._spec.get().name)

    @property
    def function_descriptor(self):
        """What it runs."""
        return descriptor_of(self._spec.get().function)

    @property
    def num_returns(self):
        """How many objects it makes."""
        return self._spec.get().num_returns

    @property
    def max_retries(self):
        """How often it may be run again; -1: always."""
        return self._spec.get().max_retries

    @property
    def attempt_number(self):
        """How often it was run before."""
        return self._spec.get().attempt

    @property
    def required_resources(self):
        """What it holds while it runs."""
        return resources_dict(self._spec.get().resources)

    @property
    def required_placement_resources(self):
        """What must be free where it is placed."""
        return resources_dict(self._spec.get().placement_resources)

    @property
    def caller_worker_id(self):
        """The process that owns what it returns."""
        return worker_id_of(self._spec.get().caller.worker_id)

    @property
    def num_args(self):
        """How many arguments it has, the names of keyword arguments counted as one."""
        return self._spec.get().args.size()

    def __repr__(self):
        return f"TaskSpecification({self.name}, {self.task_id.hex()})"


cdef TaskSpecification task_specification_of(const shared_ptr[const CTaskSpec]& spec):
    cdef TaskSpecification made = TaskSpecification.__new__(TaskSpecification)
    made._spec = spec
    return made


cdef CActorId actor_id_in(const CTaskSpec& spec):
    if spec.creation.has_value():
        return spec.creation.value().actor_id
    return spec.actor_id


cdef dict resources_dict(const CResourceSet& resources):
    cdef vector[pair[string, double]] amounts = ResourceAmounts(resources)
    return {to_str(amount.first): amount.second for amount in amounts}
