// How many forks lie between this process and the one that loaded the library: what belongs to a
// process (a connection, a pin) remembers the count of its making, and so knows for the price of a
// load whether it is in a forked child. Any thread.
#pragma once

#include <cstdint>

namespace rayc {

uint32_t ForkCount();

}  // namespace rayc
