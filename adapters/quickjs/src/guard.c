/* A way out of JavaScript that no JavaScript can stop: see guard.rs.
 *
 * The jump buffer lives in the frame of concave_guard_run, and *way_out points to it exactly while it is valid: also for
 * a signal handler, hence volatile. The signal mask is not saved: the handler that leaves this way is installed with
 * SA_NODEFER, so the mask never changed. */

#include <setjmp.h>
#include <stddef.h>

int concave_guard_run(void (*body)(void *), void *argument, void *volatile *way_out) {
  jmp_buf here;
  if (_setjmp(here) != 0) {
    *way_out = NULL;
    return 1;
  }
  *way_out = &here;
  body(argument);
  *way_out = NULL;
  return 0;
}

void concave_guard_leave(void *way_out) { _longjmp(*(jmp_buf *)way_out, 1); }
