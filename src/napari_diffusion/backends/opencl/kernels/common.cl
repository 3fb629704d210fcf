/* One dialect for OpenCL C and CUDA C: the words in capitals are macros of a prelude.

   Every operation is rounded by itself. FMA is written where the compiler of the processor fuses a
   product and a sum, so that the bits are those of the compiled backend. */

#define HALF ((REAL)0.5)
#define QUARTER ((REAL)0.25)
#define ONE ((REAL)1)
#define ZERO ((REAL)0)

/* An array argument: where its memory begins, and the first element. */
#define IN(type, name) GLOBAL const type *name, const INDEX name##_first
#define OUT(type, name) GLOBAL type *name, const INDEX name##_first
#define AT(name) name += name##_first
#define SHAPE const int channels, const int nz, const int ny, const int nx

/* The voxel of a work item, and the offsets to its neighbours; at the border they are 0. */
#define VOXEL                                                                                      \
    const int x = ITEM(0), y = ITEM(1), line = ITEM(2);                                            \
    if (x >= nx || y >= ny || line >= nz * channels)                                               \
        return;                                                                                    \
    const int z = line % nz;                                                                       \
    const INDEX row = nx, plane = row * ny, volume = plane * nz;                                   \
    const INDEX v = z * plane + y * row + x, p = (line / nz) * volume + v;                         \
    const INDEX left = x > 0 ? 1 : 0, right = x + 1 < nx ? 1 : 0;                                  \
    const INDEX above = y > 0 ? row : 0, below = y + 1 < ny ? row : 0;                             \
    const INDEX before = z > 0 ? plane : 0, beyond = z + 1 < nz ? plane : 0;                       \
    (void)v, (void)p, (void)left, (void)right, (void)above, (void)below, (void)before;             \
    (void)beyond, (void)volume

/* The voxel of a work item in a field that all channels share. */
#define ONE_CHANNEL_VOXEL                                                                          \
    const int x = ITEM(0), y = ITEM(1), z = ITEM(2);                                               \
    if (x >= nx || y >= ny || z >= nz)                                                             \
        return;                                                                                    \
    const INDEX row = nx, plane = row * ny, volume = plane * nz;                                   \
    const INDEX v = z * plane + y * row + x;                                                       \
    (void)volume

HELPER REAL larger(REAL a, REAL b) { return a >= b ? a : b; }
HELPER REAL smaller(REAL a, REAL b) { return a <= b ? a : b; }

/* exp(-q/2) for q >= 0, as `numba.stages.exp_neg_half`. */
HELPER REAL exp_neg_half(REAL q)
{
#if IS_DOUBLE
    const REAL t = FMA(-smaller(q, 1400), HALF_LOG2E, ROUND);
    const REAL r = FMA(-smaller(q, 1400), HALF_LOG2E, -(t - ROUND));
    REAL p = FMA(r, FMA(r, FMA(r, FMA(r, FMA(r, FMA(r, T13, T12), T11), T10), T9), T8), T7);
    p = FMA(r, FMA(r, FMA(r, FMA(r, FMA(r, FMA(r, p, T6), T5), T4), T3), T2), T1);
    p = FMA(r, p, ONE);
    return AS_REAL(AS_BITS(p) + (AS_BITS(t) << 52));
#else
    const REAL t = FMA(-smaller(q, 100), HALF_LOG2E, ROUND);
    const REAL r = FMA(-smaller(q, 100), HALF_LOG2E, -(t - ROUND));
    const REAL p = FMA(r, FMA(r, FMA(r, FMA(r, FMA(r, P5, P4), P3), P2), P1), ONE);
    return AS_REAL((BITS)((UBITS)AS_BITS(p) + ((UBITS)AS_BITS(t) << 23)));
#endif
}

/* g(q) times `ad`, with `sum` = 1 + q; `code` is the number of the diffusivity. */
HELPER REAL flux_of(int code, REAL ad, REAL q, REAL sum)
{
    REAL root;
    switch (code) {
    case 1:
        return ad / sum;
    case 2:
        return ad * exp_neg_half(q);
    case 3:
        root = larger(FMA(-FIFTH, q, ONE), ZERO);
        return ad * (root * root);
    case 4:
        root = q * q;
        return ad * (ONE - exp_neg_half(TWICE_C / (root * root)));
    case 5:
        return ad / SQRT(sum);
    default:
        return ad;
    }
}
