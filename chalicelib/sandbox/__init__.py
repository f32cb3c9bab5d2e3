"""Where a user's Python runs: in a process that has nothing and reaches nothing.

The node ``script`` hands code and data to a Lambda of its own, whose role permits no call and whose subnet has no
route. That Lambda calls ``runner.handle``; everything below is what stands between the user's code and that Lambda's
own process, so that one run cannot see, disturb or outlive another. ``runner`` is the parent's side, ``child`` is what
the new interpreter executes, ``syscalls`` is the list of system calls that are left to it. All three import the
standard library only: the Lambda starts fast, and user code finds nothing of ours.

What gives what, from the ground up. The first group holds on every platform:

======================
================================================================================================================ a
process of its own    a fresh interpreter (``-I -S``) with an empty environment, no inherited files, its own session. It
is killed at
                        the deadline with its group. Not a fork: no memory of the parent, so no secret, is in it
a folder of its own     empty, the working directory, removed afterwards limits                  address space, CPU
time, file size, open files, no core dump; output, prints and error texts are cut by the reader a pipe of its own
carries the result. Prints go to another one, so that no print is mistaken for a result. (Code that looks for the
                        pipe can write to it: it then decides its own result, which it does anyway. The parent trusts no
                        byte of it.)
======================
================================================================================================================

The second group is asked of the kernel, each part by itself, and taken where it is given. ``ScriptResult.layers`` says
which were:

======================
================================================================================================================
``hidden-parent``       the parent is not dumpable, so its environment and memory under ``/proc`` are closed to
processes of its user ``user``                root becomes nobody, where nobody can read this interpreter; any other
user stays what it is ``namespaces``          user, network and IPC namespaces: a network with no interface, no
capability outside ``no-new-privileges``   no capability is left, and no setuid program brings one back ``landlock``
files: the standard library and shared libraries for reading, the folder for writing, nothing else. TCP: nothing
``seccomp``             system calls: no socket but a private pair, no new process, no signal to another, nothing
unknown ``audit-hook``          in place of seccomp where there is none (macOS, and AWS Lambda as of its published
behaviour): Python itself refuses
                        sockets, processes and ctypes, and the limit on processes is nought. This stops accidents and
                        ordinary attempts, not a determined one
======================
================================================================================================================

AWS Lambda is reported to refuse functions user namespaces, ``PR_SET_NO_NEW_PRIVS`` (on which Landlock and seccomp
rest) and seccomp. So production does not rest on the second group, and a run there may have the hook alone. What
protects everybody else then is around the function: a micro-VM of its own, a role that permits nothing, so that the
credentials in its environment open nothing, a subnet without a route. What is left to a script that breaks out is this
function's later runs. ``handle`` logs ``layers`` at each cold start: look at them after the first deployment.
"""
