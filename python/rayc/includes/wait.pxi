# wait(): costs what became ready, and a glance at each reference that is left.
#
# The usual loop pops one reference at a time and passes the rest again. Three notes in each ObjectRef
# spare that loop from looking its references up again and again:
#
#   _wait_call    the last call that saw it: seen twice in one call, it is there twice
#   _wait_family  references that were found to be of different objects, all of them: as long as
#                 they are of one family, only the same ObjectRef can be there twice
#   _known_ready  its object is ready, and stays so
#
# The GIL guards all three.

cdef uint32_t wait_calls = 0
cdef uint32_t wait_families = 0
# How many references are looked up at once, while those at the front may be enough.
cdef size_t WAIT_LOOK = 64


cdef int check_waited(list refs) except -1:
    """1 if they are ObjectRefs of this session, each of another object; 0 if some are no ObjectRefs."""
    global wait_calls, wait_families
    cdef ObjectRef ref
    cdef uint32_t call
    cdef uint32_t family = 0
    cdef bint first = True
    cdef vector[CObjectId] ids
    wait_calls += 1
    call = wait_calls
    for item in refs:
        if type(item) is not ObjectRef:
            return 0
        ref = <ObjectRef>item
        check_ref(ref)
        if ref._wait_call == call:
            refuse_waited_twice()
        ref._wait_call = call
        if first:
            family = ref._wait_family
            first = False
        elif ref._wait_family != family:
            family = 0
    if family != 0:
        return 1
    ids.reserve(len(refs))
    for item in refs:
        ids.push_back(IdFrom[CObjectId]((<ObjectRef>item)._bytes))
    if HasDuplicates(ids):
        refuse_waited_twice()
    wait_families += 1
    if wait_families == 0:
        wait_families = 1
    for item in refs:
        (<ObjectRef>item)._wait_family = wait_families
    return 1


cdef int refuse_waited_twice() except -1:
    raise ValueError("wait() takes each reference once, and some are in the list twice")


cdef bint front_is_ready(CCoreWorker* core, list refs, size_t num_returns) except -1:
    """Whether so many are ready by now; those that are found to be are marked, from the front on."""
    cdef size_t found = 0
    cdef size_t i = 0
    cdef size_t j
    cdef size_t count = len(refs)
    cdef ObjectRef ref
    cdef vector[CObjectId] ids
    cdef vector[size_t] places
    cdef vector[c_bool] ready
    while i < count and found < num_returns:
        ids.clear()
        places.clear()
        while i < count and found < num_returns and ids.size() < WAIT_LOOK:
            ref = <ObjectRef>refs[i]
            if ref._known_ready:
                found += 1
            else:
                ids.push_back(IdFrom[CObjectId](ref._bytes))
                places.push_back(i)
            i += 1
        if ids.size() == 0:
            continue
        check_status(core.Wait(ids, ids.size(), 0, &ready))
        for j in range(places.size()):
            if ready[j]:
                (<ObjectRef>refs[places[j]])._known_ready = True
                found += 1
    return found >= num_returns


cdef tuple split_waited(list refs, size_t num_returns):
    """(the first num_returns that are known to be ready, the others), both in order."""
    cdef list done = []
    cdef list rest
    cdef Py_ssize_t i
    if num_returns == 1:
        # What is left is copied as a whole.
        for i in range(len(refs)):
            if (<ObjectRef>refs[i])._known_ready:
                rest = refs.copy()
                done.append(rest[i])
                del rest[i]
                return done, rest
        return done, refs.copy()
    rest = []
    for item in refs:
        if (<ObjectRef>item)._known_ready and <size_t>len(done) < num_returns:
            done.append(item)
        else:
            rest.append(item)
    return done, rest
