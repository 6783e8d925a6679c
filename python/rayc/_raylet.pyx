# cython: language_level=3
# cython: embedsignature=True
# cython: boundscheck=False
# cython: wraparound=False
# cython: binding=True
# cython: auto_pickle=False
# distutils: language = c++
"""The only door between Python and the cluster: see _raylet.pyi for what is in here."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.object cimport PyObject
from cython.operator cimport dereference as deref
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from libcpp cimport bool as c_bool
from libcpp.memory cimport shared_ptr
from libcpp.pair cimport pair
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.utility cimport move
from libcpp.vector cimport vector

from rayc.includes.common cimport (
    CActorCreationSpec,
    CAddress,
    CBuffer,
    CConcurrencyGroup,
    CLogLevel,
    CObjectRefInfo,
    CObjectValue,
    CResourceSet,
    CStatus,
    CStatusCode,
    CTaskArg,
    CTaskSpec,
    CTaskType,
    ParseLogLevel,
    ToFixedPoint,
    string_view,
)
from rayc.includes.function_descriptor cimport CFunctionDescriptor
from rayc.includes.libcoreworker cimport *
from rayc.includes.unique_ids cimport (
    CActorId,
    CJobId,
    CNodeId,
    CObjectId,
    CPlacementGroupId,
    CTaskId,
    CWorkerId,
    FillRandom,
)

import os
import sys

SCRIPT_MODE = 0
WORKER_MODE = 1
LOCAL_MODE = 2
CANCEL_SIGNAL = CancelSignal()

include "includes/text.pxi"
include "includes/hooks.pxi"
include "includes/session.pxi"
include "includes/status.pxi"
include "includes/unique_ids.pxi"
include "includes/object_ref.pxi"
include "includes/completion.pxi"
include "includes/function_descriptor.pxi"
include "includes/task_spec.pxi"
include "includes/serialization.pxi"
include "includes/submit.pxi"
include "includes/task_execution.pxi"
include "includes/async_actor.pxi"
include "includes/wait.pxi"
include "includes/core_worker.pxi"
include "includes/memory_report.pxi"
include "includes/placement_group.pxi"
include "includes/process_title.pxi"
include "includes/zygote.pxi"
