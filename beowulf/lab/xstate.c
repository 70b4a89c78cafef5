/* Let User-Mode Linux run on processors with more registers than it knows.
 *
 * Its kernel (6.1 and 6.12) saves a process's extended registers into a buffer of fixed
 * size and later writes them back. The host's kernel hands out as much as fits, but
 * takes back only the whole layout (x86's xstateregs_set()), 11 kB on processors with
 * AMX: ptrace(PTRACE_SETREGSET) fails and the node panics in its first process. Linux
 * 6.13 mended it ("um: switch to regset API and depend on XSTATE").
 *
 * Preloaded, this fills up what is written back to the whole layout. What lies behind
 * the buffer is the state of components that no process in a node can have in use: AMX
 * must be asked for, and User-Mode Linux does not know the question.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE_LEAF 0xd
#define XSTATE_BV 512     /* where the header says which components are in use */
#define LEGACY_BYTES 576  /* the part that every processor has, with the header */
#define LARGEST_BYTES 65536
#define COMPONENTS 63

static unsigned char whole[LARGEST_BYTES] __attribute__((aligned(64)));
static size_t whole_bytes;              /* of this processor's layout, as Linux uses it */
static size_t ends[COMPONENTS];         /* where each component ends; 0: there is none */

__attribute__((constructor)) static void measure(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid_count(XSTATE_LEAF, 0, &a, &b, &c, &d) || b > LARGEST_BYTES)
        return;
    whole_bytes = b;
    for (unsigned i = 2; i < COMPONENTS; i++)
        if (__get_cpuid_count(XSTATE_LEAF, i, &a, &b, &c, &d) && a)
            ends[i] = (size_t)b + a;
}

static void fill_up(const struct iovec *given)
{
    uint64_t in_use;

    memcpy(whole, given->iov_base, given->iov_len);
    memcpy(&in_use, whole + XSTATE_BV, sizeof in_use);
    for (unsigned i = 2; i < COMPONENTS; i++)
        if (ends[i] > given->iov_len)
            in_use &= ~(UINT64_C(1) << i);
    memcpy(whole + XSTATE_BV, &in_use, sizeof in_use);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    pid_t pid;
    void *address, *data;
    struct iovec filled = {whole, whole_bytes};

    va_start(rest, request);
    pid = va_arg(rest, pid_t);
    address = va_arg(rest, void *);
    data = va_arg(rest, void *);
    va_end(rest);

    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word; /* the system call writes what the library's function returns */
        if (syscall(SYS_ptrace, request, pid, address, &word) < 0)
            return -1;
        errno = 0; /* tells a word of -1 from a failure, as ptrace(2) promises */
        return word;
    }
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
        const struct iovec *given = data;
        if (given->iov_len >= LEGACY_BYTES && given->iov_len < whole_bytes) {
            fill_up(given);
            data = &filled;
        }
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
