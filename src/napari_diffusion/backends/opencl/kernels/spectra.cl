/* Diffusivities from eigenvalues, and the sheetness; see `numba.spectra` and `numba.hessians`. */

HELPER REAL beyond_rounding(REAL mu, REAL largest)
{
    const REAL excess = FMA(-MIN_GAP, largest, mu);
    return larger(smaller(mu, excess + excess), ZERO);
}

HELPER REAL weickert(REAL q)
{
    const REAL square = q * q;
    return ONE - exp_neg_half(TWICE_C / (square * square));
}

KERNEL(coherence)(IN(REAL, mu), const int axes, const REAL square, const REAL alpha,
                  const REAL selectivity, OUT(REAL, lam), const INDEX size)
{
    AT(mu), AT(lam);
    const INDEX i = LONG_ITEM(0);
    const REAL nine = 9, two = 2, rest = ONE - alpha;
    if (i >= size)
        return;
    lam[i] = alpha;
    for (int k = 1; k < axes; k++) {
        const REAL first = mu[i], m = mu[k * size + i];
        const REAL gap = larger(beyond_rounding(first - m, first), square / nine);
        REAL ratio = FMA(selectivity, beyond_rounding(m, first), square) / gap;
        ratio = smaller(ratio, nine);
        lam[k * size + i] = FMA(rest, exp_neg_half(two * ratio * ratio), alpha);
    }
}

KERNEL(edge)(IN(REAL, mu), const int axes, const REAL inverse_square, OUT(REAL, lam),
             const INDEX size)
{
    AT(mu), AT(lam);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    lam[i] = weickert(inverse_square * mu[i]);
    for (int k = 1; k < axes; k++)
        lam[k * size + i] = ONE;
}

KERNEL(hybrid)(IN(REAL, mu), const int axes, IN(REAL, grad2), const REAL inverse_square,
               const REAL h2, const REAL a, const REAL straight, const REAL alpha, OUT(REAL, lam),
               const INDEX size)
{
    AT(mu), AT(grad2), AT(lam);
    const INDEX i = LONG_ITEM(0);
    const REAL two = 2, end = 80;
    if (i >= size)
        return;
    const REAL flat = weickert(inverse_square * grad2[i]), most = mu[i];
    if (axes == 1) {
        lam[i] = flat;
        return;
    }
    const REAL low_mu = beyond_rounding(mu[(axes - 1) * size + i], most);
    const REAL mid_mu = beyond_rounding(mu[(axes - 2) * size + i], most);
    const REAL h = larger(h2, MIN_H2 * most), offset = larger(a, MIN_A * most);
    const REAL tube = mid_mu / (offset + low_mu);
    REAL plane = ONE, share, straightness, along, low;
    if (axes > 2)
        plane = beyond_rounding(most, most) / (offset + mid_mu);
    share = mid_mu / h * (larger(tube - plane, ZERO) + low_mu / h);
    share = exp_neg_half(two * smaller(share, end));
    straightness = larger(tube, MIN_TUBE);
    straightness = straightness * straightness;
    straightness = smaller(straight / (straightness * straightness), end);
    along = FMA(ONE - alpha, exp_neg_half(two * straightness), alpha);
    low = (ONE - share) * alpha;
    lam[i] = FMA(share, flat, low);
    if (axes > 2)
        lam[size + i] = low + share;
    lam[(axes - 1) * size + i] = FMA(ONE - share, along, share);
}

/* exp(-q/2) as `exp_neg_half`, with every operation rounded by itself. */
HELPER REAL exp_neg_half_unfused(REAL q)
{
#if IS_DOUBLE
    const REAL x = smaller(q, 1400), t = ROUND - x * HALF_LOG2E;
    const REAL r = -x * HALF_LOG2E - (t - ROUND);
    REAL p = T7 + r * (T8 + r * (T9 + r * (T10 + r * (T11 + r * (T12 + r * T13)))));
    p = ONE + r * (T1 + r * (T2 + r * (T3 + r * (T4 + r * (T5 + r * (T6 + r * p))))));
    return AS_REAL(AS_BITS(p) + (AS_BITS(t) << 52));
#else
    const REAL x = smaller(q, 100), t = ROUND - x * HALF_LOG2E;
    const REAL r = -x * HALF_LOG2E - (t - ROUND);
    const REAL p = ONE + r * (P1 + r * (P2 + r * (P3 + r * (P4 + r * P5))));
    return AS_REAL((BITS)((UBITS)AS_BITS(p) + ((UBITS)AS_BITS(t) << 23)));
#endif
}

/* 1 - exp(-x/2), as `numba.tensor.rise`. */
HELPER REAL rise(REAL x)
{
    REAL series = FMA(-x, E6, E5);
    series = FMA(-x, FMA(-x, FMA(-x, FMA(-x, series, E4), E3), E2), E1);
    return x < SERIES_LIMIT ? x * series : ONE - exp_neg_half(x);
}

/* ln a for a >= 1, as `numba.spectra.logarithm`. */
HELPER REAL logarithm(REAL a)
{
#if IS_DOUBLE
    const BITS bits = AS_BITS(a), e = (bits - ROOT_HALF_BITS) >> 52;
    const REAL m = AS_REAL(bits - (e << 52)), s = (m - ONE) / (m + ONE), y = s * s;
    REAL p = G5 + y * (G6 + y * (G7 + y * (G8 + y * (G9 + y * G10))));
    p = s * (G0 + y * (G1 + y * (G2 + y * (G3 + y * (G4 + y * p)))));
#else
    const BITS bits = AS_BITS(a), e = (bits - ROOT_HALF_BITS) >> 23;
    const REAL m = AS_REAL(bits - (e << 23)), s = (m - ONE) / (m + ONE), y = s * s;
    const REAL p = s * (G0 + y * (G1 + y * (G2 + y * G3)));
#endif
    return (REAL)e * LN2 + p;
}

KERNEL(vessel)(IN(REAL, mu), const int axes, IN(REAL, vessel), const REAL is_bright,
               const REAL inverse, const REAL power, const REAL share_unit, const REAL along,
               const REAL across, OUT(REAL, lam), const INDEX size)
{
    AT(mu), AT(vessel), AT(lam);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const int main = is_bright > 0 ? 0 : axes - 1, inner = is_bright > 0 ? 1 : axes - 2;
    const int other = axes > 1 ? inner : 0;
    const REAL q = power * logarithm(ONE + vessel[i] * inverse);
    const REAL root = rise(q) / exp_neg_half(q);
    const REAL largest = larger(ABS(mu[other * size + i]), SMALLEST_OTHER);
    const REAL ratio = smaller(ABS(mu[main * size + i]), largest) / largest;
    const REAL share = (ONE - ratio * ratio) * smaller(root * share_unit, ONE);
    for (int k = 0; k < axes; k++)
        lam[k * size + i] = k == main ? ONE + along * share : ONE + across * share;
}

HELPER REAL clipped(REAL a) { return smaller(larger(a, -MAX_SLOPE), MAX_SLOPE); }

KERNEL(sheetness)(IN(REAL, h), IN(REAL, mu), const int axes, const int low, const int top,
                  IN(REAL, s), const REAL sign, const REAL strength, const REAL slope_scale,
                  OUT(REAL, sheet), OUT(REAL, best), const INDEX size)
{
    AT(h), AT(mu), AT(s), AT(sheet), AT(best);
    const INDEX i = LONG_ITEM(0);
    const REAL four = 4;
    if (i >= size)
        return;
    const REAL first = mu[low * size + i], last = mu[top * size + i];
    const REAL most = larger(larger(ABS(first), ABS(last)), SMALLEST_ENTRY);
    const REAL scale = ONE / most, a = sign * first * scale, d = sign * last * scale;
    REAL height = smaller(larger(strength * most, MIN_CURVATURE), MAX_CURVATURE), v;
    height = height * height;
    if (axes == 1) {
        v = d < ZERO ? rise(height * d * d) : ZERO;
    } else {
        const REAL turn = sign * scale, slope = slope_scale * scale;
        const REAL gz = clipped(slope * s[i]), gy = clipped(slope * s[size + i]);
        REAL others, square, strong, product, gaps, across, within;
        if (axes == 2) {
            const REAL tz = turn * (h[i] * gz + h[2 * size + i] * gy);
            const REAL ty = turn * (h[size + i] * gy + h[2 * size + i] * gz);
            others = a * a, square = gz * gz + gy * gy;
            strong = rise(height * (others + d * d));
            product = (a * gz - tz) * gz + (a * gy - ty) * gy;
            gaps = a - d;
        } else {
            const REAL b = sign * mu[size + i] * scale, gx = clipped(slope * s[2 * size + i]);
            const REAL zy = h[3 * size + i], zx = h[4 * size + i], yx = h[5 * size + i];
            const REAL tz = turn * (h[i] * gz + zy * gy + zx * gx);
            const REAL ty = turn * (h[size + i] * gy + zy * gz + yx * gx);
            const REAL tx = turn * (h[2 * size + i] * gx + zx * gz + yx * gy);
            others = larger(a * a, b * b), square = gz * gz + gy * gy + gx * gx;
            strong = rise(height * (a * a + b * b + d * d));
            product = (a * gz - tz) * (b * gz - tz) + (a * gy - ty) * (b * gy - ty);
            product = product + (a * gx - tx) * (b * gx - tx);
            gaps = (a - d) * (b - d);
        }
        across = smaller(larger(product / larger(gaps, MIN_GAPS), ZERO), square);
        within = smaller(square - across, MAX_WITHIN);
        v = larger(ONE - others, ZERO) * strong
            * exp_neg_half_unfused(four * others + SLOPE_WEIGHT * within);
    }
    v = smaller(v, larger(v + v - SHEET_THRESHOLD, ZERO));
    sheet[i] = v;
    best[i] = larger(v, best[i]);
}

/* Add scaled Hessians times the fourth power of their sheetness. */
KERNEL(add_sheets)(IN(REAL, j), IN(REAL, sheet), OUT(REAL, total), const INDEX volume,
                   const INDEX size)
{
    AT(j), AT(sheet), AT(total);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const REAL square = sheet[i % volume] * sheet[i % volume];
    total[i] = total[i] + square * square * j[i];
}
