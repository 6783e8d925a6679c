// The test program is also the raylet and the zygote of its tests: it starts itself in these roles.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "raylet/config.h"
#include "raylet/fake_zygote.h"
#include "raylet/raylet.h"

int main(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "--as-zygote") {
    return rayc::raylet::testing::FakeZygote().Run();
  }
  if (role == "--as-raylet") {
    const auto config = rayc::raylet::ParseConfig({argv + 2, argv + argc});
    return config ? rayc::raylet::RunRaylet(*config) : 2;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
