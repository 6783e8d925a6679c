// The program raylet: flags -> config -> run.
#include <cstdio>
#include <string>
#include <vector>

#include "raylet/config.h"
#include "raylet/raylet.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto config = rayc::raylet::ParseConfig(arguments);
  if (!config) {
    std::fprintf(stderr, "raylet: %s\n", config.error().message().c_str());
    return 2;
  }
  return rayc::raylet::RunRaylet(*config);
}
