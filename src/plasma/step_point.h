// Where a process may die between two changes of what others see. With RAYC_STEP_POINTS (a build
// for the step test alone) each is a numbered stop, at which a test kills the process; otherwise
// nothing.
#pragma once

namespace rayc::plasma {

#ifdef RAYC_STEP_POINTS
void StepPoint(const char* name);
#else
inline void StepPoint(const char* /*name*/) {}
#endif

}  // namespace rayc::plasma
