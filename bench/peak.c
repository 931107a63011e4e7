/* The machine's peak: multiply-adds in registers alone, on one thread and on all that are named.
 *
 *     gcc -O2 bench/peak.c -o /tmp/peak -lpthread && /tmp/peak 2
 *
 * Needs AVX2; uses AVX-512 where the processor has it. Prints GFLOP/s of f32 and, where the processor has it, of bf16
 * products. */
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 50000000L
#define TWENTY(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15) M(16) M(17) M(18) M(19)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Twenty sums in registers hide the latency of the multiply-add. */
#define SUM(i) __m512 s##i = _mm512_setzero_ps();
#define F32(i) __asm__ volatile("vfmadd213ps %2,%1,%0" : "+v"(s##i) : "v"(b), "v"(c));
#define BF16(i) __asm__ volatile("vdpbf16ps %2,%1,%0" : "+v"(s##i) : "v"(b), "v"(c));

__attribute__((target("avx512f"))) static void *run(void *result) {
    double *gflops = result;
    TWENTY(SUM)
    __m512 b = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(1e-9f);
    double start = now();
    for (long k = 0; k < ROUNDS; k++) { TWENTY(F32) }
    gflops[0] = ROUNDS * 20. * 32 / (now() - start) / 1e9;
    gflops[1] = 0;
    if (__builtin_cpu_supports("avx512bf16")) {
        start = now();
        for (long k = 0; k < ROUNDS; k++) { TWENTY(BF16) }
        gflops[1] = ROUNDS * 20. * 64 / (now() - start) / 1e9;
    }
    return 0;
}

/* The same with 256 bits: ten sums and two factors fit sixteen registers. */
#define TEN(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9)
#define SUM256(i) __m256 s##i = _mm256_setzero_ps();
#define F32_256(i) __asm__ volatile("vfmadd213ps %2,%1,%0" : "+x"(s##i) : "x"(b), "x"(c));

__attribute__((target("avx2,fma"))) static void *run256(void *result) {
    double *gflops = result;
    TEN(SUM256)
    __m256 b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(1e-9f);
    double start = now();
    for (long k = 0; k < 2 * ROUNDS; k++) { TEN(F32_256) }
    gflops[0] = 2 * ROUNDS * 10. * 16 / (now() - start) / 1e9;
    gflops[1] = 0;
    return 0;
}

int main(int argc, char **argv) {
    int most = argc > 1 ? atoi(argv[1]) : 1;
    if (most < 1 || most > 256 || !__builtin_cpu_supports("fma")) return fprintf(stderr, "usage: peak [THREADS up to 256], with AVX2\n"), 2;
    void *(*measure)(void *) = __builtin_cpu_supports("avx512f") ? run : run256;
    for (int threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
        pthread_t ids[256];
        double each[256][2], total[2] = {0, 0};
        for (int i = 0; i < threads; i++) pthread_create(&ids[i], 0, measure, each[i]);
        for (int i = 0; i < threads; i++) pthread_join(ids[i], 0), total[0] += each[i][0], total[1] += each[i][1];
        printf("{\"threads\": %d, \"f32_gflop_per_s\": %.1f, \"bf16_gflop_per_s\": %.1f}\n", threads, total[0], total[1]);
    }
}
