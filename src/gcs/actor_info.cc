#include "gcs/actor_info.h"

#include "rpc/convert.h"

namespace rayc::gcs {

fb::ActorInfoT ToMessage(const ActorInfo& info, HandleState handle_state) {
  fb::ActorInfoT message;
  message.actor_id = rpc::IdBytes(info.actor_id);
  message.state = info.state;
  message.address = rpc::ToMessage(info.address);
  message.pid = info.pid;
  message.incarnation = info.incarnation;
  message.num_restarts = info.num_restarts;
  message.class_name = info.class_name;
  message.name = info.name;
  message.name_space = info.name_space;
  message.job_id = rpc::IdBytes(info.job_id);
  message.owner = rpc::ToMessage(info.owner);
  message.is_detached = info.is_detached;
  message.max_task_retries = info.max_task_retries;
  if (handle_state == HandleState::kInclude) {
    message.handle_state = rpc::ToBytes(info.handle_state);
  }
  message.death_cause = info.death_cause;
  message.death_detail = info.death_detail;
  message.creation_error_data = rpc::ToBytes(info.creation_error_data);
  message.creation_error_metadata = info.creation_error_metadata;
  return message;
}

}  // namespace rayc::gcs
