#include "raylet/config.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

namespace rayc::raylet {
namespace {

template <typename Number>
Status ParseNumber(const std::string& text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Status::InvalidArgument("not a number: " + text);
  }
  return Status::Ok();
}

Status ParseResource(const std::string& text, ResourceSet& resources) {
  // The name may hold anything, also '='.
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) {
    return Status::InvalidArgument("not NAME=AMOUNT: " + text);
  }
  char* end = nullptr;
  const std::string amount_text = text.substr(equals + 1);
  const double amount = std::strtod(amount_text.c_str(), &end);
  if (amount_text.empty() || *end != '\0' || !std::isfinite(amount) || amount < 0 ||
      amount > 1e14) {
    return Status::InvalidArgument("not an amount of a resource: " + text);
  }
  resources.Set(text.substr(0, equals), ToFixedPoint(amount));
  return Status::Ok();
}

using Setter = std::function<Status(RayletConfig&, const std::string&)>;

Setter Text(std::string RayletConfig::*member) {
  return [member](RayletConfig& config, const std::string& value) {
    config.*member = value;
    return Status::Ok();
  };
}

template <typename Number>
Setter Numeric(Number RayletConfig::*member) {
  return [member](RayletConfig& config, const std::string& value) {
    return ParseNumber(value, config.*member);
  };
}

}  // namespace

Result<RayletConfig> ParseConfig(const std::vector<std::string>& arguments) {
  const std::map<std::string, Setter> flags{
      {"--session-dir", Text(&RayletConfig::session_dir)},
      {"--gcs-socket", Text(&RayletConfig::gcs_socket)},
      {"--owner-pid", Numeric(&RayletConfig::owner_pid)},
      {"--ready-fd", Numeric(&RayletConfig::ready_fd)},
      {"--node-ip", Text(&RayletConfig::node_ip)},
      {"--object-store-bytes", Numeric(&RayletConfig::object_store_bytes)},
      {"--spill-folder",
       [](RayletConfig& config, const std::string& value) {
         config.spill_folders.push_back(value);
         return Status::Ok();
       }},
      {"--resource",
       [](RayletConfig& config, const std::string& value) {
         return ParseResource(value, config.resources);
       }},
      {"--log-level", Text(&RayletConfig::log_level)},
      {"--max-workers", Numeric(&RayletConfig::workers_max)},
      {"--cpu-core",
       [](RayletConfig& config, const std::string& value) {
         return ParseNumber(value, config.cpu_cores.emplace_back());
       }},
  };
  RayletConfig config;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") {
      config.zygote_argv.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                arguments.end());
      break;
    }
    if (arguments[i] == "--head") {
      config.is_head = true;
      continue;
    }
    const auto flag = flags.find(arguments[i]);
    if (flag == flags.end()) {
      return Err(Status::InvalidArgument("unknown option " + arguments[i]));
    }
    if (i + 1 == arguments.size()) {
      return Err(Status::InvalidArgument(arguments[i] + " needs a value"));
    }
    if (Status status = flag->second(config, arguments[++i]); !status.ok()) {
      return Err(Status::InvalidArgument(flag->first + ": " + status.message()));
    }
  }
  while (config.session_dir.size() > 1 && config.session_dir.back() == '/') {
    config.session_dir.pop_back();
  }
  if (config.session_dir.empty() || config.session_dir[0] != '/') {
    return Err(Status::InvalidArgument("--session-dir needs an absolute path"));
  }
  if (config.zygote_argv.empty()) {
    return Err(Status::InvalidArgument("the command of the zygote is missing after --"));
  }
  if (config.is_head != config.gcs_socket.empty()) {
    return Err(Status::InvalidArgument("give either --head or --gcs-socket"));
  }
  return config;
}

}  // namespace rayc::raylet
