"""Where a user's Python runs: in a process that has nothing and reaches nothing.

The node ``script`` hands code and data to a Lambda of its own, whose role permits no call and whose subnet has no
route. That Lambda calls ``runner.handle``; everything below is what stands between the user's code and that Lambda's
own process, so that one run cannot see, disturb or outlive another. ``runner`` is the parent's side, ``child`` is what
the new interpreter executes, ``syscalls`` is the list of system calls that are left to it. All three import the
standard library only: the Lambda starts fast, and user code finds nothing of ours.

The first group of layers holds on every platform:

- *a process of its own*: a fresh interpreter (``-I -S``) with an empty environment, no inherited files and its own
  session, killed at the deadline with its group. It is no fork, so no memory of the parent and no secret is in it;
- *a folder of its own*: empty, the working directory, removed afterwards;
- *limits*: address space, processor time, size of a file, open files, no core dump. What it returns, prints or raises
  is cut by the reader;
- *a pipe of its own* for the result. Prints go to another one, so that no print is mistaken for a result. Code that
  looks for the pipe can write to it, and then decides its own result, as it does anyway: the parent trusts no byte.

The second group is asked of the system, each layer by itself, and taken where it is given. ``ScriptResult.layers``
says which were:

- ``hidden-parent``: the parent is not dumpable, which closes its environment and memory under ``/proc``;
- ``user``: root becomes nobody, where nobody can read this interpreter; any other user stays what it is;
- ``namespaces``: user, network and IPC: a network without an interface, no capability outside;
- ``no-new-privileges``: no capability is left, and no setuid program brings one back;
- ``landlock``: the standard library and shared libraries for reading, the folder for writing, no other file, no TCP;
- ``seccomp``: no socket but a private pair, no new process, no signal to another, no system call that is not listed;
- ``audit-hook``: in place of seccomp where there is none. Python itself refuses sockets, processes and ctypes, and the
  limit on processes is nought, which rules out threads as well. It stops accidents and ordinary attempts, not a
  determined one.

AWS Lambda is reported to refuse functions user namespaces, ``PR_SET_NO_NEW_PRIVS`` (on which Landlock and seccomp
rest) and seccomp. So production does not rest on the second group, and a run there may have the hook alone. What
protects everybody else then is around the function: a micro-VM of its own, a role that permits nothing, so that the
credentials in its environment open nothing, a subnet without a route. What is left to a script that breaks out is this
function's later runs. ``handle`` logs ``layers`` at each cold start: look at them after the first deployment.
"""
