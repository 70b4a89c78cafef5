/* Trace a child as User-Mode Linux does, and print what worked.
 *
 * The child fills its vector registers and stops; the parent reads its extended state into a
 * buffer of User-Mode Linux's size, changes one register, and writes it back; the child looks.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_BYTES 2696 /* FP_SIZE of Linux 6.1's arch/um, as on most x86 */
#define XMM0_OFFSET 160   /* in the legacy part */

static volatile long minus_one = -1;
static volatile long forty_two = 42;
static unsigned char before[4][32], after[4][32];

static int child(void)
{
    long pid = getpid();

    memset(before[0], 0x11, sizeof before[0]);
    memset(before[1], 0x22, sizeof before[1]);
    memset(before[2], 0x33, sizeof before[2]);
    memset(before[3], 0x44, sizeof before[3]);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    __asm__ volatile("vmovdqu (%0), %%ymm0\n\tvmovdqu 32(%0), %%ymm1\n\t"
                     "vmovdqu 64(%0), %%ymm7\n\tvmovdqu 96(%0), %%ymm15\n\t"
                     "movq %2, %%rdi\n\tmovl %3, %%esi\n\tmovl %4, %%eax\n\tsyscall\n\t"
                     "vmovdqu %%ymm0, (%1)\n\tvmovdqu %%ymm1, 32(%1)\n\t"
                     "vmovdqu %%ymm7, 64(%1)\n\tvmovdqu %%ymm15, 96(%1)"
                     :
                     : "r"(before), "r"(after), "r"(pid), "i"(SIGSTOP), "i"(SYS_kill)
                     : "rax", "rcx", "r11", "rdi", "rsi", "memory", "xmm0", "xmm1", "xmm7", "xmm15");
    memset(before[0], 0x99, 16); /* what the parent wrote into the lower half of ymm0 */
    return memcmp(before, after, sizeof before) == 0 ? 0 : 1;
}

static void peek(const char *name, pid_t pid, volatile long *address)
{
    long word;

    errno = EPERM;
    word = ptrace(PTRACE_PEEKDATA, pid, (void *)address, 0);
    printf("%s %ld %s\n", name, word, errno ? strerror(errno) : "fine");
}

int main(void)
{
    static unsigned char state[BUFFER_BYTES] __attribute__((aligned(64)));
    struct iovec buffer = {state, sizeof state};
    long got, set;
    int status;
    pid_t pid;

    if (!__builtin_cpu_supports("avx"))
        return 77;
    pid = fork();
    if (pid == 0)
        _exit(child());
    waitpid(pid, &status, 0);
    peek("minus-one", pid, &minus_one);
    peek("forty-two", pid, &forty_two);
    peek("nowhere", pid, (volatile long *)8);
    got = ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &buffer);
    memset(state + XMM0_OFFSET, 0x99, 16);
    errno = 0;
    set = ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &buffer);
    printf("get %ld set %ld %s\n", got, set, errno ? strerror(errno) : "fine");
    ptrace(PTRACE_CONT, pid, 0, 0);
    waitpid(pid, &status, 0);
    printf("registers %s\n", WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "as written" : "lost");
    return 0;
}
