/* Local features: gradients, neighbours, smoothing, structure tensor; see `numba.features`. */

KERNEL(squared_gradient)(IN(REAL, u), SHAPE, const REAL bz, const REAL by, const REAL bx,
                         IN(REAL, w), IN(uchar, faces), const int walled, OUT(REAL, out))
{
    AT(u), AT(w), AT(faces), AT(out);
    ONE_CHANNEL_VOXEL;
    const INDEX left = x > 0 ? 1 : 0, right = x + 1 < nx ? 1 : 0;
    const INDEX above = y > 0 ? row : 0, below = y + 1 < ny ? row : 0;
    const INDEX before = z > 0 ? plane : 0, beyond = z + 1 < nz ? plane : 0;
    REAL sum = ZERO;
    for (int c = 0; c < channels; c++) {
        const INDEX p = c * volume + v;
        const REAL share = HALF * w[c], centre = u[p];
        const REAL wz = share * bz, wy = share * by, wx = share * bx;
        REAL east = u[p + right] - centre, west = centre - u[p - left];
        REAL south = u[p + below] - centre, north = centre - u[p - above];
        REAL far = u[p + beyond] - centre, near = centre - u[p - before];
        if (walled) {
            east = faces[v] & 4 ? east : ZERO;
            west = faces[v - left] & 4 ? west : ZERO;
            south = faces[v] & 2 ? south : ZERO;
            north = faces[v - above] & 2 ? north : ZERO;
            far = faces[v] & 1 ? far : ZERO;
            near = faces[v - before] & 1 ? near : ZERO;
            sum = FMA(wz, FMA(far, far, near * near), sum);
            sum = FMA(wy, FMA(south, south, north * north), sum);
            sum = FMA(wx, FMA(east, east, west * west), sum);
        } else {
            const REAL flat = FMA(wx, FMA(east, east, west * west),
                                  wy * FMA(south, south, north * north));
            const REAL total = FMA(wz, FMA(far, far, near * near), flat);
            sum = c ? sum + total : total;
        }
    }
    out[v] = sum;
}

KERNEL(neighbours)(IN(REAL, u), SHAPE, const REAL sz, const REAL sy, const REAL sx, const int main,
                   IN(uchar, faces), const int walled, OUT(REAL, mean), OUT(REAL, deviation))
{
    AT(u), AT(faces), AT(mean), AT(deviation);
    VOXEL;
    const REAL kz = sz > 0 ? ONE : ZERO, ky = sy > 0 ? ONE : ZERO, kx = sx > 0 ? ONE : ZERO;
    const REAL centre = u[p];
    REAL reference = u[p + (main == 0 ? beyond : main == 1 ? below : right)];
    REAL east = u[p + right], west = u[p - left], south = u[p + below], north = u[p - above];
    REAL far = u[p + beyond], near = u[p - before], m, most, scale, total;
    if (walled) {
        reference = faces[v] & (1 << main) ? reference : centre;
        east = faces[v] & 4 ? east : centre;
        west = faces[v - left] & 4 ? west : centre;
        south = faces[v] & 2 ? south : centre;
        north = faces[v - above] & 2 ? north : centre;
        far = faces[v] & 1 ? far : centre;
        near = faces[v - before] & 1 ? near : centre;
    }
    m = FMA(sx, (east - reference) + (west - reference),
            sy * ((south - reference) + (north - reference)));
    m = reference + FMA(sz, (far - reference) + (near - reference), m);
    east = kx * (east - m), west = kx * (west - m);
    south = ky * (south - m), north = ky * (north - m);
    far = kz * (far - m), near = kz * (near - m);
    most = larger(larger(ABS(far), ABS(near)), larger(ABS(south), ABS(north)));
    most = larger(larger(ABS(east), ABS(west)), larger(most, MIN_GRADIENT));
    scale = ONE / most;
    east = east * scale, west = west * scale, south = south * scale, north = north * scale;
    far = far * scale, near = near * scale;
    total = FMA(sy, FMA(south, south, north * north), sx * FMA(east, east, west * west));
    total = FMA(sz, FMA(far, far, near * near), total);
    deviation[p] = most * SQRT(total);
    mean[p] = m;
}

/* Index under the half-sample mirror. */
HELPER int reflected(int i, int n)
{
    if (i < 0 || i >= n) {
        i = i % (2 * n);
        i = i < 0 ? i + 2 * n : i;
        i = i >= n ? 2 * n - 1 - i : i;
    }
    return i;
}

/* Values of a pair of taps; less twice the central value for a sum of differences. */
#define PAIR(k)                                                                                    \
    ((u[at + (reflected(i - (k), n) - i) * stride] + u[at + (reflected(i + (k), n) - i) * stride]) \
     - twice)

/* Convolution along an axis, in the order of `numba.features`: a group of one to four pairs with the
   central tap, then groups of four. */
KERNEL(convolve)(IN(REAL, u), SHAPE, const int axis, IN(REAL, w), const int radius,
                 const int differ, OUT(REAL, out))
{
    AT(u), AT(w), AT(out);
    VOXEL;
    const INDEX stride = axis == 0 ? plane : axis == 1 ? row : 1;
    const int n = axis == 0 ? nz : axis == 1 ? ny : nx, i = axis == 0 ? z : axis == 1 ? y : x;
    const INDEX at = p;
    const REAL centre = u[p], twice = differ ? centre + centre : ZERO;
    const int pairs = (radius - 1) % 4 + 1;
    REAL sum = w[1] * PAIR(1), near;
    if (pairs == 1) {
        sum = differ ? FMA(w[1], PAIR(1), centre) : FMA(w[0], centre, sum);
    } else {
        sum = FMA(w[1], PAIR(1), w[2] * PAIR(2));
        if (pairs == 3)
            sum = FMA(w[3], PAIR(3), sum);
        if (pairs == 4)
            sum = sum + FMA(w[3], PAIR(3), w[4] * PAIR(4));
        sum = differ ? centre + sum : FMA(w[0], centre, sum);
    }
    for (int k = pairs + 1; k <= radius; k += 4) {
        near = FMA(w[k], PAIR(k), w[k + 1] * PAIR(k + 1));
        sum = sum + (near + FMA(w[k + 2], PAIR(k + 2), w[k + 3] * PAIR(k + 3)));
    }
    out[p] = sum;
}

/* Product of two first derivatives, summed over channels. */
KERNEL(product)(IN(REAL, u), SHAPE, const int i, const int j, const REAL a, const REAL b,
                IN(REAL, w), OUT(REAL, out))
{
    AT(u), AT(w), AT(out);
    ONE_CHANNEL_VOXEL;
    const INDEX down[3] = {z > 0 ? plane : 0, y > 0 ? row : 0, x > 0 ? 1 : 0};
    const INDEX up[3] = {z + 1 < nz ? plane : 0, y + 1 < ny ? row : 0, x + 1 < nx ? 1 : 0};
    REAL sum = ZERO;
    for (int c = 0; c < channels; c++) {
        const INDEX p = c * volume + v;
        const REAL first = a * (u[p + up[i]] - u[p - down[i]]);
        const REAL second = b * (u[p + up[j]] - u[p - down[j]]);
        sum = c ? FMA(w[c], first * second, sum) : w[c] * (first * second);
    }
    out[v] = sum;
}

KERNEL(derivative)(IN(REAL, u), SHAPE, const int axis, const int first, const REAL scale,
                   IN(uchar, faces), const int walled, OUT(REAL, out))
{
    AT(u), AT(faces), AT(out);
    VOXEL;
    const INDEX up = axis == 0 ? beyond : axis == 1 ? below : right;
    const INDEX down = axis == 0 ? before : axis == 1 ? above : left;
    const int bit = axis == 0 ? 1 : axis == 1 ? 2 : 4;
    REAL ahead = u[p + up] - u[p], back = u[p] - u[p - down];
    if (walled) {
        ahead = faces[v] & bit ? ahead : ZERO;
        back = faces[v - down] & bit ? back : ZERO;
    }
    out[p] = first ? scale * (ahead + back) : scale * (ahead - back);
}

/* Factor times a second difference along axis a, or a mixed one along the axes a and b. */
KERNEL(hessian_entry)(IN(REAL, u), SHAPE, const int a, const int b, const REAL factor,
                      OUT(REAL, out))
{
    AT(u), AT(out);
    ONE_CHANNEL_VOXEL;
    const INDEX down[3] = {z > 0 ? plane : 0, y > 0 ? row : 0, x > 0 ? 1 : 0};
    const INDEX up[3] = {z + 1 < nz ? plane : 0, y + 1 < ny ? row : 0, x + 1 < nx ? 1 : 0};
    const INDEX low = v - down[a], high = v + up[a];
    if (a == b)
        out[v] = factor * ((u[high] - u[v]) - (u[v] - u[low]));
    else
        out[v] = factor * ((u[high + up[b]] - u[high - down[b]]) -
                           (u[low + up[b]] - u[low - down[b]]));
    (void)channels;
}

/* Reciprocals of rows that are linear in pieces; `piece` is the number of the piece of a voxel. */
KERNEL(reciprocals)(IN(REAL, middle), IN(REAL, difference), IN(REAL, lowest), IN(int, piece),
                    IN(REAL, offset), const int n, const int pieces, const INDEX size,
                    OUT(REAL, out))
{
    AT(middle), AT(difference), AT(lowest), AT(piece), AT(offset), AT(out);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    const INDEX k = (i / n) * pieces + piece[i % n];
    out[i] = ONE / larger(FMA(difference[k], offset[i % n], middle[k]), lowest[k]);
}

KERNEL(diffusivity)(const int code, const INDEX size, OUT(REAL, q))
{
    AT(q);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    q[i] = flux_of(code, ONE, q[i], ONE + q[i]);
}

/* out + share (field - other), each operation rounded by itself. */
KERNEL(add_difference)(OUT(REAL, out), IN(REAL, field), IN(REAL, other), const REAL share,
                       const INDEX size)
{
    AT(out), AT(field), AT(other);
    const INDEX i = LONG_ITEM(0);
    if (i >= size)
        return;
    out[i] = out[i] + (field[i] - other[i]) * share;
}
