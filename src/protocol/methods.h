// The numbers of all messages, one range per receiver. They are the wire contract together with the
// schemas beside this file: append, never renumber. kProtocolVersion changes with any incompatible
// change; two sides of different versions refuse each other by name (rpc/channel.h).
#pragma once

#include <cstdint>

namespace rayc {

inline constexpr uint32_t kProtocolVersion = 3;

enum class Method : uint16_t {
  kHello = 1,  // Hello -> HelloReply; first on every connection
  // One way, within the channel: see rpc/ring_link.h.
  kRingOffer =
      2,  // from the side that connected; with the descriptors of the rings and its doorbell
  kRingAccept = 3,  // with the descriptors of its doorbell
  kRingRefuse = 4,
  kRingStart = 5,

  // to a raylet
  kRegisterClient = 100,
  kRequestLease = 101,
  kCancelLease = 102,      // one way
  kReturnLease = 103,      // one way
  kNotifyBlocked = 104,    // one way
  kNotifyUnblocked = 105,  // one way
  kFlushLogs = 106,
  kGetWorkerDeath = 107,
  kAnnounceExit = 108,  // one way
  kKillWorker = 109,    // one way
  kShutdownNode = 110,
  kPrepareBundles = 111,
  kCommitBundles = 112,  // one way
  kReturnBundles = 113,  // one way
  kListClients = 114,

  // to the GCS
  kKvPut = 200,
  kKvGet = 201,
  kKvDel = 202,
  kKvKeys = 203,
  kAddJob = 204,
  kGetJob = 205,
  kRegisterNode = 206,
  kReportResources = 207,  // one way
  kGetNodes = 208,
  kCreateActor = 209,
  kGetActor = 210,
  kGetNamedActor = 211,
  kListActors = 212,
  kKillActorRequest = 213,
  kActorOutOfScope = 214,    // one way
  kReportWorkerDeath = 215,  // one way
  kSubscribeActor = 216,
  kUnsubscribeActor = 217,  // one way
  kCreatePlacementGroup = 220,
  kWaitPlacementGroup = 221,
  kRemovePlacementGroup = 222,  // one way
  kGetPlacementGroup = 223,
  kListPlacementGroups = 224,

  // to a CoreWorker
  kPushTask = 300,
  kGetObject = 301,
  kAddBorrowers = 302,
  kRemoveBorrowers = 303,  // one way
  kCancelTask = 304,
  kKillActor = 305,      // one way
  kExitWorker = 306,     // one way
  kReclaimLeases = 307,  // one way, from the raylet
  kLogBatch = 308,       // one way, from the raylet to a driver
  kActorUpdate = 309,    // one way, from the GCS to subscribers: ActorInfo
  kGetReferences = 310,  // from tools

  // to a plasma store; 402 to 407 are those of protocol 1
  kPlasmaConnect = 400,
  kPlasmaCreate = 401,
  kPlasmaList = 408,
  kPlasmaGrant = 409,
  kPlasmaRestore = 410,
  kPlasmaTaken = 411,  // one way
  kPlasmaEvict = 412,
  kPlasmaSubscribe = 413,
  kPlasmaNotification = 414,  // one way, from the store to subscribers
};

}  // namespace rayc
