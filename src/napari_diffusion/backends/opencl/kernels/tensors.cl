/* Eigenvalues, stored tensors and the stencil of cells; see `numba.tensor`. */

KERNEL(eigenvalues_2)(IN(REAL, j), OUT(REAL, mu), const INDEX size)
{
    AT(j), AT(mu);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const double a = j[i], b = j[size + i], c = j[2 * size + i];
    const double mean = 0.5 * (a + b), rest = 0.5 * (a - b);
    const double root = SQRT64(FMA64(c, c, rest * rest));
    mu[i] = (REAL)(mean + root);
    mu[size + i] = (REAL)(mean - root);
}

KERNEL(eigenvalues_3)(IN(REAL, j), OUT(REAL, mu), const INDEX size)
{
    AT(j), AT(mu);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const REAL two = 2, j0 = j[i], j1 = j[size + i], j2 = j[2 * size + i];
    const REAL mean = FMA(j2, THIRD, FMA(j0, THIRD, j1 * THIRD));
    REAL a = j0 - mean, b = j1 - mean, c = j2 - mean;
    REAL d = j[3 * size + i], e = j[4 * size + i], f = j[5 * size + i];
    const REAL largest = larger(larger(larger(ABS(a), ABS(b)), larger(ABS(c), ABS(d))),
                                larger(ABS(e), ABS(f)));
    const REAL scale = ONE / larger(largest, SMALLEST_ENTRY);
    a = a * scale, b = b * scale, c = c * scale, d = d * scale, e = e * scale, f = f * scale;
    const REAL aa = a * a, bb = b * b, cc = c * c, dd = d * d, ee = e * e, ff = f * f;
    const REAL df = d * f, ef = e * f;
    const REAL p2 = larger((((aa + bb) + cc) + two * ((dd + ee) + ff)) * SIXTH, SMALLEST_NORM);
    REAL p = SQRT(p2);
    const REAL inverse = HALF / (p2 * p);
    REAL r = FMA(b, c, -ff);
    r = FMA(a, r, -(d * FMA(d, c, -ef)));
    r = FMA(e, FMA(-b, e, df), r) * inverse;
    const REAL qa = (aa + dd) + ee, qb = (bb + dd) + ff, qc = (cc + ee) + ff;
    const REAL x0 = a - b, x1 = ((a + b) - two * c) * ROOT3 * THIRD;
    const REAL x2 = two * d, x3 = two * e, x4 = two * f;
    const REAL y0 = qa - qb, y1 = ((qa + qb) - two * qc) * ROOT3 * THIRD;
    const REAL y2 = two * FMA(d, a + b, ef), y3 = two * FMA(e, a + c, df);
    const REAL y4 = two * FMA(d, e, f * (b + c));
    const REAL w01 = FMA(x0, y1, -(x1 * y0)), w02 = FMA(x0, y2, -(x2 * y0));
    const REAL w03 = FMA(x0, y3, -(x3 * y0)), w04 = FMA(x0, y4, -(x4 * y0));
    const REAL w12 = FMA(x1, y2, -(x2 * y1)), w13 = FMA(x1, y3, -(x3 * y1));
    const REAL w14 = FMA(x1, y4, -(x4 * y1)), w23 = FMA(x2, y3, -(x3 * y2));
    const REAL w24 = FMA(x2, y4, -(x4 * y2)), w34 = FMA(x3, y4, -(x4 * y3));
    REAL total = FMA(w02, w02, w01 * w01);
    total = FMA(w12, w12, FMA(w04, w04, FMA(w03, w03, total)));
    total = FMA(w23, w23, FMA(w14, w14, FMA(w13, w13, total)));
    total = FMA(w34, w34, FMA(w24, w24, total));
    const REAL sine = SQRT(total) * (THIRD * HALF) * inverse;
    const REAL y = smaller(sine * sine / (two * (ONE + ABS(r))), HALF);
    const REAL x = FMA((REAL)4, y, -ONE);
    REAL s = FMA(x, FMA(x, FMA(x, FMA(x, FMA(x, FMA(x, FMA(x, S14, S13), S12), S11), S10), S9), S8),
                 S7);
    s = FMA(x, FMA(x, FMA(x, FMA(x, FMA(x, FMA(x, FMA(x, s, S6), S5), S4), S3), S2), S1), S0);
    const REAL sin = s * SQRT(y), cos = SQRT(FMA(-sin, sin, ONE));
    const REAL turned = ROOT3 * sin;
    p = p * largest;
    const REAL lone = two * p * cos, low = p * (cos - turned), high = p * (cos + turned);
    mu[i] = mean + (r >= 0 ? lone : high);
    mu[size + i] = mean + (r >= 0 ? -low : low);
    mu[2 * size + i] = mean - (r >= 0 ? high : lone);
}

/* 1 - exp(-x/2), as `numba.tensor.rise`. */
HELPER REAL rise(REAL x)
{
    REAL series = FMA(-x, E6, E5);
    series = FMA(-x, FMA(-x, FMA(-x, FMA(-x, series, E4), E3), E2), E1);
    return x < SERIES_LIMIT ? x * series : ONE - exp_neg_half(x);
}

/* Whether a Hessian may be that of a bright vessel; see `numba.hessians`. */
HELPER int is_candidate(GLOBAL const REAL *j, INDEX i, INDEX size, int axes, REAL strength)
{
    const REAL a = strength * j[i];
    if (axes == 1)
        return !(a >= ZERO);
    const REAL b = strength * j[size + i];
    if (axes == 2)
        return !(a + b >= ZERO);
    const REAL c = strength * j[2 * size + i], d = strength * j[3 * size + i];
    const REAL e = strength * j[4 * size + i], f = strength * j[5 * size + i];
    const REAL z = -(b + c), y = -(a + c), x = -(a + b), minor = z * y - d * d;
    REAL det = z * (y * x - f * f) - d * (d * x - e * f);
    det = det + e * (d * f - y * e);
    return !(z <= ZERO || minor <= ZERO || det <= ZERO);
}

/* Vesselness of scaled Hessians and their eigenvalues, whose maximum goes to `best`. `low` and `top`
   are the rows of the smallest and of the largest curvature of a bright vessel. */
KERNEL(vesselness)(IN(REAL, j), IN(REAL, mu), const int axes, const int low, const int top,
                   const REAL sign, const REAL strength, OUT(REAL, vessel), OUT(REAL, best),
                   const INDEX size)
{
    AT(j), AT(mu), AT(vessel), AT(best);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    if (!is_candidate(j, i, size, axes, sign * strength)) {
        vessel[i] = ZERO;
        return;
    }
    const int has_second = axes == 3;
    const REAL four = 4, first = sign * mu[low * size + i], third = sign * mu[top * size + i];
    const REAL second = has_second ? sign * mu[size + i] : third;
    const REAL largest =
        larger(larger(ABS(first), SMALLEST_ENTRY), larger(ABS(second), ABS(third)));
    const REAL scale = ONE / largest, a = ABS(first) * scale, d = ABS(third) * scale;
    const REAL b = larger(ABS(second) * scale, MIN_CURVATURE);
    const REAL height = smaller(larger(strength * largest, MIN_CURVATURE), MAX_CURVATURE);
    const REAL ratio = a / b;
    REAL tube = larger(FMA(-ratio, ratio, ONE), ZERO), v, strong;
    tube = second < ZERO && third < ZERO ? tube : ZERO;
    if (!has_second) {
        strong = rise(height * height * FMA(a, a, d * d));
        v = tube * strong * exp_neg_half(four * a * a);
    } else {
        strong = rise(height * height * FMA(d, d, FMA(a, a, b * b)));
        strong = strong * rise(four * b * b);
        v = tube * strong
            * exp_neg_half(FMA(four * a, ratio, SMOOTHING / (b * height * height * height)));
    }
    v = smaller(v, larger((v + v) - VESSEL_THRESHOLD, ZERO));
    vessel[i] = v;
    best[i] = larger(v, best[i]);
}

/* Add scaled Hessians times the fourth power of their vesselness. */
KERNEL(add_weighted)(IN(REAL, j), IN(REAL, vessel), OUT(REAL, total), const INDEX volume,
                     const INDEX size)
{
    AT(j), AT(vessel), AT(total);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const REAL square = vessel[i % volume] * vessel[i % volume];
    total[i] = FMA(square * square, j[i], total[i]);
}

HELPER REAL share_of(REAL rise, REAL gap, REAL floor)
{
    const REAL share = rise / (gap > floor ? gap : ONE);
    return gap > floor ? share : ZERO;
}

HELPER WORD entry_of(REAL a)
{
    a = a > STEPS ? STEPS : a;
    a = a < -STEPS ? -STEPS : a;
    a = a == a ? a : ZERO;
    return (WORD)((int)RINT(a) + ENTRY_BIAS);
}

HELPER WORD packed(REAL a, REAL b, REAL c)
{
    return entry_of(a) | (entry_of(b) << 21) | (entry_of(c) << 42);
}

KERNEL(compose_1)(IN(REAL, lam), const REAL scale, const int axis, OUT(WORD, d), const INDEX size)
{
    AT(lam), AT(d);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const REAL d0 = scale * lam[i];
    d[i] = packed(axis == 0 ? d0 : ZERO, axis == 1 ? d0 : ZERO, axis == 2 ? d0 : ZERO);
    d[size + i] = packed(ZERO, ZERO, ZERO);
}

KERNEL(compose_2)(IN(REAL, j), IN(REAL, mu), IN(REAL, lam), const REAL scale, const int first,
                  const int second, OUT(WORD, d), const INDEX size)
{
    AT(j), AT(mu), AT(lam), AT(d);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const REAL m0 = mu[i], m1 = mu[size + i], l0 = lam[i];
    const REAL largest = larger(larger(ABS(m0), ABS(m1)), SMALLEST_EIGENVALUE);
    const REAL share = share_of(l0 - lam[size + i], m0 - m1, MIN_GAP * largest);
    const REAL a = scale * FMA(share, j[i] - m0, l0);
    const REAL b = scale * FMA(share, j[size + i] - m0, l0);
    const REAL c = scale * (share * j[2 * size + i]);
    if (first == 0 && second == 2) {
        d[i] = packed(a, ZERO, b);
        d[size + i] = packed(ZERO, c, ZERO);
    } else if (first == 0) {
        d[i] = packed(a, b, ZERO);
        d[size + i] = packed(c, ZERO, ZERO);
    } else {
        d[i] = packed(ZERO, a, b);
        d[size + i] = packed(ZERO, ZERO, c);
    }
}

KERNEL(compose_3)(IN(REAL, j), IN(REAL, mu), IN(REAL, lam), const REAL scale, OUT(WORD, d),
                  const INDEX size)
{
    AT(j), AT(mu), AT(lam), AT(d);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const REAL m0 = mu[i], m1 = mu[size + i], m2 = mu[2 * size + i];
    const REAL unit = ONE / larger(larger(ABS(m0), ABS(m2)), SMALLEST_EIGENVALUE);
    const REAL a = m0 * unit, b = m1 * unit, c = m2 * unit, first = lam[i];
    const REAL second = a - b > MIN_GAP ? lam[size + i] : first;
    const REAL third = b - c > MIN_GAP ? lam[2 * size + i] : second;
    const REAL s12 = share_of(first - second, a - b, MIN_GAP);
    const REAL s23 = share_of(second - third, b - c, MIN_GAP);
    const REAL s123 = share_of(s12 - s23, a - c, MIN_GAP);
    const REAL j0 = j[i] * unit, j1 = j[size + i] * unit, j2 = j[2 * size + i] * unit;
    const REAL o3 = j[3 * size + i] * unit, o4 = j[4 * size + i] * unit;
    const REAL o5 = j[5 * size + i] * unit;
    const REAL z1 = j0 - a, y1 = j1 - a, x1 = j2 - a, z2 = j0 - b, y2 = j1 - b, x2 = j2 - b;
    const REAL o33 = o3 * o3, o44 = o4 * o4, o55 = o5 * o5;
    const REAL zz = FMA(s123, FMA(z1, z2, o33) + o44, FMA(s12, z1, first));
    const REAL yy = FMA(s123, FMA(y1, y2, o33) + o55, FMA(s12, y1, first));
    const REAL xx = FMA(s123, FMA(x1, x2, o44 + o55), FMA(s12, x1, first));
    const REAL zy = FMA(s12, o3, s123 * FMA(o4, o5, FMA(z1, o3, o3 * y2)));
    const REAL zx = FMA(s12, o4, s123 * FMA(o4, x2, FMA(z1, o4, o3 * o5)));
    const REAL yx = FMA(s12, o5, s123 * FMA(o5, x2, FMA(o3, o4, y1 * o5)));
    d[i] = packed(scale * zz, scale * yy, scale * xx);
    d[size + i] = packed(scale * zy, scale * zx, scale * yx);
}

/* Sums of a quantity over the cells of a row beside a voxel, each seen from its four rows. */
typedef struct {
    REAL x, y, z, q;
} CONTRIBUTION;

/* Flux and hourglass modes of a cell. */
typedef struct {
    REAL fx, fy, fz, mzy, mzx, myx, m3;
} FLOWS;

/* Entries of the four voxels of a column of corners, summed. */
#define SLOT(word, bits) ((REAL)((int)(((word) >> (bits)) & 0x1FFFFF) - 4 * ENTRY_BIAS))

/* Mean over both columns of the corners of a cell, in quarters of a quantisation step. */
HELPER int cell_entry(WORD near, WORD far, int bits)
{
    return (int)RINT(HALF * (SLOT(near, bits) + SLOT(far, bits))) + 4 * ENTRY_BIAS;
}

/* Mean tensors of the cells between the voxels; nx, ny and nz are the numbers of voxels. */
KERNEL(average)(IN(WORD, d), OUT(uint, cells), const int nz, const int ny, const int nx)
{
    AT(d), AT(cells);
    const int x = ITEM(0), y = ITEM(1), z = ITEM(2);
    const int mx = nx + (nx > 1), my = ny + (ny > 1), mz = nz + (nz > 1);
    if (x >= mx || y >= my || z >= mz)
        return;
    const INDEX row = nx, plane = row * ny, volume = plane * nz, count = (INDEX)mx * my * mz;
    const INDEX l = x > 0 ? x - 1 : 0, r = x < nx ? x : nx - 1;
    const INDEX low = (y > 0 ? y - 1 : 0) * row, high = (y < ny ? y : ny - 1) * row;
    const INDEX under = (z > 0 ? z - 1 : 0) * plane, over = (z < nz ? z : nz - 1) * plane;
    const INDEX a = under + low, b = under + high, e = over + low, f = over + high;
    GLOBAL const WORD *o = d + volume;
    const WORD near = d[a + l] + d[b + l] + d[e + l] + d[f + l];
    const WORD far = d[a + r] + d[b + r] + d[e + r] + d[f + r];
    const WORD near_o = o[a + l] + o[b + l] + o[e + l] + o[f + l];
    const WORD far_o = o[a + r] + o[b + r] + o[e + r] + o[f + r];
    const uint zx = (uint)cell_entry(near_o, far_o, 21), yx = (uint)cell_entry(near_o, far_o, 42);
    const INDEX i = ((INDEX)z * my + y) * mx + x;
    cells[i] = (uint)cell_entry(near, far, 0) | ((zx & 0x7FF) << 21);
    cells[count + i] = (uint)cell_entry(near, far, 21) | ((zx >> 11) << 21);
    cells[2 * count + i] = (uint)cell_entry(near, far, 42) | ((yx & 0x7FF) << 21);
    cells[3 * count + i] = (uint)cell_entry(near_o, far_o, 0) | ((yx >> 11) << 21);
}

#define CELL_ENTRY(word) ((REAL)((int)((word) & 0x1FFFFF) - 4 * ENTRY_BIAS))
#define SPLIT_ENTRY(low, high)                                                                     \
    ((REAL)((int)((low) >> 21) + ((int)((high) >> 21) << 11) - 4 * ENTRY_BIAS))

/* Flows of the cell between the voxels `l` and `r` of the rows a (low y, low z), b (high y), e (high
   z) and f (both high) from its tensor; l and r are equal at the ends of the row. */
HELPER FLOWS flows_of(GLOBAL const REAL *u, REAL zz, REAL yy, REAL xx, REAL zy, REAL zx, REAL yx,
                      INDEX a, INDEX b, INDEX e, INDEX f, INDEX l, INDEX r)
{
    FLOWS flows;
    const REAL ua = u[a + l], ub = u[b + l], uc = u[e + l], ue = u[f + l];
    const REAL va = u[a + r], vb = u[b + r], vc = u[e + r], ve = u[f + r];
    const REAL y0 = (ub - ua) + (ue - uc), y1 = (vb - va) + (ve - vc);
    const REAL z0 = (uc - ua) + (ue - ub), z1 = (vc - va) + (ve - vb);
    const REAL q0 = (ue - uc) - (ub - ua), q1 = (ve - vc) - (vb - va);
    const REAL gx = l == r ? ZERO : ((va - ua) + (ve - ue)) + ((vb - ub) + (vc - uc));
    const REAL gy = y0 + y1, gz = z0 + z1;
    flows.fz = FMA(zz, gz, FMA(zx, gx, zy * gy));
    flows.fy = FMA(yy, gy, FMA(yx, gx, zy * gz));
    flows.fx = l == r ? ZERO : FMA(xx, gx, FMA(yx, gy, zx * gz));
    const REAL azy = ABS(zy), azx = ABS(zx), ayx = ABS(yx);
    const REAL vz = larger(MIN_WEIGHT * zz, FMA(-REDUCTION, azy + azx, zz));
    const REAL vy = larger(MIN_WEIGHT * yy, FMA(-REDUCTION, azy + ayx, yy));
    const REAL vx = larger(MIN_WEIGHT * xx, FMA(-REDUCTION, azx + ayx, xx));
    flows.mzy = (vz + vy) * (q0 + q1);
    flows.mzx = (vz + vx) * (z1 - z0);
    flows.myx = (vy + vx) * (y1 - y0);
    flows.m3 = (vz + (vy + vx)) * (q1 - q0);
    return flows;
}

/* Flows of a cell whose tensor is d[cell]; see `flows_of`. */
HELPER FLOWS cell_flows(GLOBAL const REAL *u, GLOBAL const uint *d, INDEX count, INDEX cell, INDEX a,
                        INDEX b, INDEX e, INDEX f, INDEX l, INDEX r, REAL k0, REAL k1, REAL k2,
                        REAL k3, REAL k4, REAL k5)
{
    const uint w0 = d[cell], w1 = d[count + cell], w2 = d[2 * count + cell];
    const uint w3 = d[3 * count + cell];
    return flows_of(u, k0 * CELL_ENTRY(w0), k1 * CELL_ENTRY(w1), k2 * CELL_ENTRY(w2),
                    k3 * CELL_ENTRY(w3), k4 * SPLIT_ENTRY(w0, w1), k5 * SPLIT_ENTRY(w2, w3), a, b, e,
                    f, l, r);
}

HELPER CONTRIBUTION contribution_of(FLOWS near, FLOWS far)
{
    CONTRIBUTION sum;
    sum.x = far.fx - near.fx;
    sum.y = (far.myx - near.myx) - (near.fy + far.fy);
    sum.z = (far.mzx - near.mzx) - (near.fz + far.fz);
    sum.q = (far.m3 - near.m3) - (near.mzy + far.mzy);
    return sum;
}

/* Contribution of the cells left and right of voxel x to the four rows of their corners; `cells` is
   the first cell of their row. */
HELPER CONTRIBUTION cells_beside(GLOBAL const REAL *u, GLOBAL const uint *d, INDEX count,
                                 INDEX cells, INDEX a, INDEX b, INDEX e, INDEX f, int x, int nx,
                                 REAL k0, REAL k1, REAL k2, REAL k3, REAL k4, REAL k5)
{
    const INDEX l = x > 0 ? x - 1 : 0, r = x + 1 < nx ? x + 1 : nx - 1;
    const INDEX next = cells + x + (nx > 1);
    const FLOWS near =
        cell_flows(u, d, count, cells + x, a, b, e, f, l, x, k0, k1, k2, k3, k4, k5);
    const FLOWS far = cell_flows(u, d, count, next, a, b, e, f, x, r, k0, k1, k2, k3, k4, k5);
    return contribution_of(near, far);
}

/* Planes through which a work item passes. */
#define TENSOR_PLANES 8

KERNEL(tensor_step)(IN(REAL, u), OUT(REAL, out), IN(uint, d), SHAPE, const REAL k0, const REAL k1,
                    const REAL k2, const REAL k3, const REAL k4, const REAL k5, const REAL momentum)
{
    AT(u), AT(out), AT(d);
    const int x = ITEM(0), y = ITEM(1), line = ITEM(2);
    const int parts = (nz + TENSOR_PLANES - 1) / TENSOR_PLANES;
    if (x >= nx || y >= ny || line >= parts * channels)
        return;
    const INDEX row = nx, plane = row * ny, volume = plane * nz, base = (line / parts) * volume;
    const INDEX mx = nx + (nx > 1), my = ny + (ny > 1), count = mx * my * (nz + (nz > 1));
    const int first = (line % parts) * TENSOR_PLANES;
    const int last = first + TENSOR_PLANES < nz ? first + TENSOR_PLANES : nz;
    const REAL low_y = y > 0 ? ONE : ZERO, high_y = y + 1 < ny ? ONE : ZERO;
    const INDEX r0 = (INDEX)(y > 0 ? y - 1 : 0) * row, r1 = (INDEX)y * row;
    const INDEX r2 = (INDEX)(y + 1 < ny ? y + 1 : ny - 1) * row;
    REAL sum = ZERO;
    u += base, out += base;
    for (int zc = first - 1; zc < last; zc++) {
        const REAL sz = zc >= 0 && zc + 1 < nz ? ONE : ZERO;
        const INDEX z0 = (zc > 0 ? zc : 0) * plane, z1 = (zc + 1 < nz ? zc + 1 : nz - 1) * plane;
        const INDEX below = ((nz > 1 ? zc + 1 : 0) * my + y) * mx, above = below + (ny > 1) * mx;
        /* The rows of cells below (y - 1, y) and above (y, y + 1) this voxel. */
        const CONTRIBUTION low = cells_beside(u, d, count, below, z0 + r0, z0 + r1, z1 + r0, z1 + r1,
                                              x, nx, k0, k1, k2, k3, k4, k5);
        const CONTRIBUTION high = cells_beside(u, d, count, above, z0 + r1, z0 + r2, z1 + r1,
                                               z1 + r2, x, nx, k0, k1, k2, k3, k4, k5);
        if (zc >= first) {
            sum = sum + ((low.x + low_y * low.y) + (-sz * low.z - low_y * sz * low.q));
            sum = sum + ((high.x - high_y * high.y) + (-sz * high.z + high_y * sz * high.q));
            out[z0 + r1 + x] = sum;
        }
        if (zc + 1 < last) {
            const INDEX p = z1 + r1 + x;
            sum = momentum != 0 ? FMA(momentum, u[p] - out[p], u[p]) : u[p];
            sum = sum + ((low.x + low_y * low.y) + (sz * low.z + low_y * sz * low.q));
            sum = sum + ((high.x - high_y * high.y) + (sz * high.z - high_y * sz * high.q));
        }
    }
}

/* Flows of a cell from the tensors of its voxels; see `flows_of`. */
HELPER FLOWS voxel_flows(GLOBAL const REAL *u, GLOBAL const WORD *d, INDEX volume, INDEX a, INDEX b,
                         INDEX e, INDEX f, INDEX l, INDEX r, const REAL *k)
{
    GLOBAL const WORD *o = d + volume;
    const WORD near = d[a + l] + d[b + l] + d[e + l] + d[f + l];
    const WORD far = d[a + r] + d[b + r] + d[e + r] + d[f + r];
    const WORD near_o = o[a + l] + o[b + l] + o[e + l] + o[f + l];
    const WORD far_o = o[a + r] + o[b + r] + o[e + r] + o[f + r];
    const REAL zz = k[0] * (HALF * (SLOT(near, 0) + SLOT(far, 0)));
    const REAL yy = k[1] * (HALF * (SLOT(near, 21) + SLOT(far, 21)));
    const REAL xx = k[2] * (HALF * (SLOT(near, 42) + SLOT(far, 42)));
    const REAL zy = k[3] * (HALF * (SLOT(near_o, 0) + SLOT(far_o, 0)));
    const REAL zx = k[4] * (HALF * (SLOT(near_o, 21) + SLOT(far_o, 21)));
    const REAL yx = k[5] * (HALF * (SLOT(near_o, 42) + SLOT(far_o, 42)));
    return flows_of(u, zz, yy, xx, zy, zx, yx, a, b, e, f, l, r);
}

/* Whether a face between two voxels of a cell is closed. */
HELPER int is_cut(GLOBAL const uchar *faces, INDEX a, INDEX b, INDEX e, INDEX f, int has_y,
                  int has_z, INDEX l, INDEX r)
{
    int open = 7;
    if (has_z)
        open &= (faces[a + l] & faces[b + l] & faces[a + r] & faces[b + r]) | ~1;
    if (has_y)
        open &= (faces[a + l] & faces[e + l] & faces[a + r] & faces[e + r]) | ~2;
    if (l != r)
        open &= (faces[a + l] & faces[b + l] & faces[e + l] & faces[f + l]) | ~4;
    return open != 7;
}

/* Low corner of an edge of a cell; the bits 4, 2, 1 of a corner mark the high side along z, y, x. */
HELPER int low_corner(int edge)
{
    const int k = edge & 3;
    return edge < 4 ? k : edge < 8 ? (k & 1) + ((k & 2) << 1) : 2 * k;
}

HELPER double larger64(double a, double b) { return a >= b ? a : b; }

/* `sum` with the fluxes of a cell with walls into its corner `me`. Every connected part of the
   corners has its own mean gradient. `corner` holds offsets, `present` marks those in the image. */
HELPER REAL cut_cell(GLOBAL const REAL *u, GLOBAL const WORD *d, INDEX volume,
                     GLOBAL const uchar *faces, const INDEX *corner, const int *present, int me,
                     const REAL *k, REAL sum)
{
    int part[8], opened[12];
    double t[6], g[3], flux[3], v[3], count[3];
    for (int n = 0; n < 8; n++)
        part[n] = n;
    for (int turn = 0; turn < 7; turn++)
        for (int edge = 0; edge < 12; edge++) {
            const int n = low_corner(edge), m = n + (4 >> (edge >> 2));
            opened[edge] = present[n] && present[m] && (faces[corner[n]] & (1 << (edge >> 2)));
            if (opened[edge])
                part[n] = part[m] = part[n] < part[m] ? part[n] : part[m];
        }
    for (int i = 0; i < 6; i++) {
        t[i] = 0;
        for (int n = 0; n < 8; n++)
            if (present[n] && part[n] == part[me]) {
                const WORD word = d[(i < 3 ? 0 : volume) + corner[n]];
                t[i] += (double)((int)((word >> (21 * (i % 3))) & 0x1FFFFF) - ENTRY_BIAS);
            }
        t[i] = t[i] * (8.0 * (double)k[i]);
    }
    for (int axis = 0; axis < 3; axis++)
        g[axis] = count[axis] = 0;
    for (int edge = 0; edge < 12; edge++) {
        const int n = low_corner(edge), m = n + (4 >> (edge >> 2));
        if (opened[edge] && part[n] == part[me]) {
            g[edge >> 2] += (double)(u[corner[m]] - u[corner[n]]);
            count[edge >> 2] += 1;
        }
    }
    for (int axis = 0; axis < 3; axis++)
        g[axis] /= larger64(count[axis], 1);
    flux[0] = FMA64(t[4], g[2], FMA64(t[0], g[0], t[3] * g[1]));
    flux[1] = FMA64(t[5], g[2], FMA64(t[3], g[0], t[1] * g[1]));
    flux[2] = FMA64(t[2], g[2], FMA64(t[4], g[0], t[5] * g[1]));
    const double zy = fabs(t[3]), zx = fabs(t[4]), yx = fabs(t[5]);
    v[0] = larger64(MIN_WEIGHT_64 * t[0], FMA64(-REDUCTION_64, zy + zx, t[0]));
    v[1] = larger64(MIN_WEIGHT_64 * t[1], FMA64(-REDUCTION_64, zy + yx, t[1]));
    v[2] = larger64(MIN_WEIGHT_64 * t[2], FMA64(-REDUCTION_64, zx + yx, t[2]));
    for (int edge = 0; edge < 12; edge++) {
        const int axis = edge >> 2, n = low_corner(edge), m = n + (4 >> axis);
        if (opened[edge] && part[n] == part[me] && (n == me || m == me)) {
            const double rise = (double)(u[corner[m]] - u[corner[n]]);
            const REAL flow = (REAL)(FMA64(v[axis], rise - g[axis], flux[axis]) / count[axis]);
            sum = n == me ? sum + flow : sum - flow;
        }
    }
    return sum;
}

KERNEL(walled_tensor_step)(IN(REAL, u), OUT(REAL, out), IN(WORD, d), SHAPE, const REAL k0,
                           const REAL k1, const REAL k2, const REAL k3, const REAL k4,
                           const REAL k5, const REAL momentum, IN(uchar, faces))
{
    AT(u), AT(out), AT(d), AT(faces);
    VOXEL;
    const REAL k[6] = {k0, k1, k2, k3, k4, k5};
    const INDEX base = p - v;
    REAL sum = momentum != 0 ? FMA(momentum, u[p] - out[p], u[p]) : u[p];
    u += base;
    /* The cells before the plane and the row of this voxel, and those after them. */
    for (int side = 0; side < 4; side++) {
        const int zc = z - 1 + (side >> 1), yc = y - 1 + (side & 1);
        const int has_z = zc >= 0 && zc + 1 < nz, has_y = yc >= 0 && yc + 1 < ny;
        const INDEX z0 = (zc > 0 ? zc : 0) * plane, z1 = (zc + 1 < nz ? zc + 1 : nz - 1) * plane;
        const INDEX y0 = (yc > 0 ? yc : 0) * row, y1 = (yc + 1 < ny ? yc + 1 : ny - 1) * row;
        const INDEX a = z0 + y0, b = z0 + y1, e = z1 + y0, f = z1 + y1;
        const REAL sz = has_z ? (side >> 1 ? -ONE : ONE) : ZERO;
        const REAL sy = has_y ? (side & 1 ? -ONE : ONE) : ZERO;
        FLOWS flows[2];
        int cut[2];
        for (int i = 0; i < 2; i++) {
            const int xc = x - 1 + i;
            const INDEX l = xc > 0 ? xc : 0, r = xc + 1 < nx ? xc + 1 : nx - 1;
            cut[i] = is_cut(faces, a, b, e, f, has_y, has_z, l, r);
            if (cut[i]) {
                const FLOWS none = {ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO};
                flows[i] = none;
            } else {
                flows[i] = voxel_flows(u, d, volume, a, b, e, f, l, r, k);
            }
        }
        const CONTRIBUTION both = contribution_of(flows[0], flows[1]);
        sum = sum + ((both.x + sy * both.y) + (sz * both.z + sy * sz * both.q));
        for (int i = 0; i < 2; i++) {
            const int xc = x - 1 + i;
            INDEX corner[8];
            int present[8];
            if (!cut[i])
                continue;
            for (int n = 0; n < 8; n++) {
                const int cz = zc + (n >> 2), cy = yc + ((n >> 1) & 1), cx = xc + (n & 1);
                present[n] = cz >= 0 && cz < nz && cy >= 0 && cy < ny && cx >= 0 && cx < nx;
                corner[n] = present[n] ? cz * plane + cy * row + cx : 0;
            }
            sum = cut_cell(u, d, volume, faces, corner, present,
                           (side >> 1 ? 0 : 4) + (side & 1 ? 0 : 2) + (i ? 0 : 1), k, sum);
        }
    }
    out[p] = sum;
}
