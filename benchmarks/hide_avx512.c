// Hides AVX-512 from libraries of a process, for compare.py --isa avx2: preloaded, it answers the
// instruction CPUID without AVX-512, AVX10 and what comes with them. Where the processor can, CPUID
// faults, in all libraries; elsewhere, in those alone whose CPUID was replaced by UD2
// (instructions.py). For Linux on x86-64.

#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1U << (n))

// Of leaf 7, by subleaf: the features to hide in eax, ebx, ecx and edx.
static const unsigned kHidden[2][4] = {
    {0,
     // avx512f, dq, ifma, pf, er, cd, bw, vl
     BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31),
     // avx512_vbmi, vbmi2, vnni, bitalg, vpopcntdq
     BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14),
     // avx512_4vnniw, 4fmaps, vp2intersect, amx_bf16, avx512_fp16, amx_tile, amx_int8
     BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25)},
    // avx_vnni, avx512_bf16, amx_fp16, avx_ifma; avx_vnni_int8, avx_ne_convert, avx_vnni_int16, avx10
    {BIT(4) | BIT(5) | BIT(21) | BIT(23), 0, 0, BIT(4) | BIT(5) | BIT(10) | BIT(19)}};

static struct sigaction before[NSIG];

// Of this thread; those that it starts inherit it. Nothing where the processor cannot.
static void let_cpuid_fault(int faults) {
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, !faults);
}

static void answer(int number, siginfo_t* info, void* context) {
  (void)info;
  greg_t* const registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const unsigned char* const instruction = (const unsigned char*)registers[REG_RIP];
  const unsigned char second = number == SIGILL ? 0x0b : 0xa2;  // of UD2 or CPUID
  if (instruction[0] != 0x0f || instruction[1] != second) {  // a fault of the program's own
    sigaction(number, &before[number], NULL);
    return;
  }
  const unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX];
  unsigned found[4];
  let_cpuid_fault(0);
  __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
  let_cpuid_fault(1);
  for (int i = 0; leaf == 7 && subleaf < 2 && i < 4; ++i) found[i] &= ~kHidden[subleaf][i];
  registers[REG_RAX] = found[0];
  registers[REG_RBX] = found[1];
  registers[REG_RCX] = found[2];
  registers[REG_RDX] = found[3];
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, &before[SIGSEGV]);
  sigaction(SIGILL, &action, &before[SIGILL]);
  let_cpuid_fault(1);
}
