/* Stages with a diffusivity of the whole gradient at each face; see `numba.stages`. */

/* Squared derivative across the face from v to v + up, summed over channels; 0 across a closed face
   and for up = 0. */
HELPER REAL squared_derivative(GLOBAL const REAL *u, INDEX v, INDEX up, INDEX volume, int channels,
                               REAL b2, GLOBAL const REAL *w, GLOBAL const uchar *faces, int walled,
                               int bit)
{
    REAL sum = ZERO;
    for (int c = 0; c < channels; c++) {
        REAL d = u[c * volume + v + up] - u[c * volume + v];
        if (walled)
            d = faces[v] & bit ? d : ZERO;
        sum = FMA(w[c] * b2, d * d, sum);
    }
    return sum;
}

/* Squared gradient at a face, from the squared derivatives across it and across its neighbours. */
HELPER REAL face_gradient(REAL square, REAL before, REAL after, REAL near, REAL far)
{
    const REAL around = before + after;
    const REAL full = FMA(-QUARTER, around, FMA(HALF, square, HALF * (near + far)));
    return larger(full, square);
}

/* Squared gradient at the face from v to v + up of several channels. */
HELPER REAL shared_gradient(GLOBAL const REAL *u, INDEX v, INDEX down, INDEX up, INDEX up2,
                            INDEX volume, int channels, REAL b2, GLOBAL const REAL *s2,
                            GLOBAL const REAL *w, GLOBAL const uchar *faces, int walled, int bit)
{
    const REAL before =
        squared_derivative(u, v - down, down, volume, channels, b2, w, faces, walled, bit);
    const REAL square = squared_derivative(u, v, up, volume, channels, b2, w, faces, walled, bit);
    const REAL after =
        squared_derivative(u, v + up, up2, volume, channels, b2, w, faces, walled, bit);
    return face_gradient(square, before, after, s2[v], s2[v + up]);
}

/* Squared gradient at the face from v to v + up of the only channel, which begins at u. */
HELPER REAL own_gradient(GLOBAL const REAL *u, INDEX v, INDEX down, INDEX up, INDEX up2, REAL b2,
                         GLOBAL const REAL *s2, GLOBAL const uchar *faces, int walled, int bit)
{
    REAL d = u[v + up] - u[v], back = u[v] - u[v - down], ahead = u[v + up + up2] - u[v + up];
    REAL square, around;
    if (walled) {
        d = faces[v] & bit ? d : ZERO;
        back = faces[v - down] & bit ? back : ZERO;
        ahead = faces[v + up] & bit ? ahead : ZERO;
    }
    square = b2 * (d * d);
    around = b2 * FMA(back, back, ahead * ahead);
    return larger(FMA(HALF, square, FMA(HALF, s2[v] + s2[v + up], -(QUARTER * around))), square);
}

/* Diffusivity of a squared gradient q at the face from v to v + up. */
HELPER REAL face_diffusivity(int code, REAL k2, REAL q, GLOBAL const REAL *k, int mapped, INDEX v,
                             INDEX up)
{
    REAL mean;
    if (!mapped)
        return flux_of(code, ONE, k2 * q, FMA(k2, q, ONE));
    mean = HALF * (k[v] + k[v + up]);
    return flux_of(code, ONE, (k2 * q) * (mean * mean), FMA(k2 * q, mean * mean, ONE));
}

KERNEL(gradient_step)(IN(REAL, u), OUT(REAL, out), SHAPE, const REAL az, const REAL ay,
                      const REAL ax, const REAL bz, const REAL by, const REAL bx,
                      const REAL momentum, const int code, const REAL k2, const REAL cap,
                      IN(REAL, s2), IN(REAL, k), const int mapped, IN(uchar, faces),
                      const int walled, IN(REAL, w))
{
    AT(u), AT(out), AT(s2), AT(k), AT(faces), AT(w);
    VOXEL;
    REAL gain[3], loss[3];
    for (int side = 0; side < 6; side++) {
        /* The face from voxel f to f + up; side 0 is the near face of this voxel. */
        const int axis = side >> 1, is_far = side & 1;
        const INDEX up = axis == 0 ? plane : axis == 1 ? row : 1;
        const int n = axis == 0 ? nz : axis == 1 ? ny : nx;
        const int at = (axis == 0 ? z : axis == 1 ? y : x) - !is_far;
        const int bit = axis == 0 ? 1 : axis == 1 ? 2 : 4;
        const REAL a = axis == 0 ? az : axis == 1 ? ay : ax;
        const REAL b2 = axis == 0 ? bz : axis == 1 ? by : bx;
        const INDEX f = is_far ? v : v - up, fp = is_far ? p : p - up;
        const INDEX down = at > 0 ? up : 0, up2 = at + 2 < n ? up : 0;
        REAL share = ZERO, q, own;
        if (at < 0 || at + 1 >= n) {
            if (is_far)
                gain[axis] = ZERO;
            else
                loss[axis] = ZERO;
            continue;
        }
        own = s2[v];
        if (channels == 1) {
            REAL d = u[f + up] - u[f], factor;
            if (walled)
                d = faces[f] & bit ? d : ZERO;
            q = own_gradient(u, f, down, up, up2, b2, s2, faces, walled, bit);
            if (mapped) {
                const REAL mean = HALF * (k[f] + k[f + up]);
                factor = mean * mean;
                share = flux_of(code, a * d, (k2 * q) * factor, FMA(k2 * q, factor, ONE));
            } else {
                share = flux_of(code, a * d, k2 * q, FMA(k2, q, ONE));
            }
            if (cap != 0) {
                const REAL norm = ONE / larger(SQRT(q), MIN_GRADIENT);
                share = share * smaller(SQRT(own) * norm, cap);
            }
        } else {
            REAL d;
            q = shared_gradient(u, f, down, up, up2, volume, channels, b2, s2, w, faces, walled,
                                bit);
            share = a * face_diffusivity(code, k2, q, k, mapped, f, up);
            if (cap != 0) {
                const REAL norm = larger(SQRT(q), MIN_GRADIENT);
                share = share * smaller(SQRT(own) / norm, cap);
            }
            d = share * (u[fp + up] - u[fp]);
            share = walled && !(faces[f] & bit) ? ZERO : d;
        }
        if (is_far)
            gain[axis] = share;
        else
            loss[axis] = share;
    }
    const REAL centre = u[p];
    REAL result;
    if (momentum != 0)
        result = centre + FMA(momentum, centre - out[p], gain[2] - loss[2]);
    else
        result = centre + (gain[2] - loss[2]);
    if (ny > 1)
        result = result + (gain[1] - loss[1]);
    if (nz > 1)
        result = result + (gain[0] - loss[0]);
    out[p] = result;
}

HELPER STORED packed(REAL g)
{
#if IS_DOUBLE
    return (float)larger(g, MIN_GRADIENT);
#else
    int steps = AS_BITS(g) - BITS_OF_ZERO + (1 << (DROPPED_BITS - 1));
    steps = steps >> DROPPED_BITS;
    return (ushort)(steps < 1 ? 1 : steps > LARGEST_CODE ? LARGEST_CODE : steps);
#endif
}

HELPER REAL unpacked(STORED g)
{
#if IS_DOUBLE
    return (double)g;
#else
    return AS_REAL(((int)g << DROPPED_BITS) + BITS_OF_ZERO);
#endif
}

/* Diffusivities of the faces along one axis, in their stored form. */
KERNEL(face_diffusivities)(IN(REAL, u), SHAPE, const int axis,
                           const REAL b2, const int code, const REAL k2, IN(REAL, s2), IN(REAL, k),
                           const int mapped, IN(uchar, faces), const int walled, IN(REAL, w),
                           OUT(STORED, out))
{
    AT(u), AT(s2), AT(k), AT(faces), AT(w), AT(out);
    ONE_CHANNEL_VOXEL;
    const INDEX up = axis == 0 ? plane : axis == 1 ? row : 1;
    const int n = axis == 0 ? nz : axis == 1 ? ny : nx, at = axis == 0 ? z : axis == 1 ? y : x;
    const int bit = axis == 0 ? 1 : axis == 1 ? 2 : 4;
    const INDEX down = at > 0 ? up : 0, up2 = at + 2 < n ? up : 0;
    STORED value = 0;
    if (at + 1 < n && !(walled && !(faces[v] & bit))) {
        const REAL q =
            channels == 1
                ? own_gradient(u, v, down, up, up2, b2, s2, faces, walled, bit)
                : shared_gradient(u, v, down, up, up2, volume, channels, b2, s2, w, faces, walled,
                                  bit);
        value = packed(face_diffusivity(code, k2, q, k, mapped, v, up));
    }
    out[v] = value;
}

/* One stage with stored diffusivities of the faces; gz, gy and gx are where they begin. */
KERNEL(face_step)(IN(REAL, u), OUT(REAL, out), SHAPE, IN(STORED, gz), IN(STORED, gy),
                  IN(STORED, gx), const REAL az, const REAL ay, const REAL ax, const REAL momentum,
                  const int walled)
{
    AT(u), AT(out), AT(gz), AT(gy), AT(gx);
    VOXEL;
    const REAL centre = u[p];
    const REAL east = u[p + right] - centre, west = u[p - left] - centre;
    const REAL south = u[p + below] - centre, north = u[p - above] - centre;
    const REAL far = u[p + beyond] - centre, near = u[p - before] - centre;
    const STORED ge = gx[v], gw = gx[v - left], gs = gy[v], gn = gy[v - above];
    const STORED gf = gz[v], gb = gz[v - before];
    REAL xs, ys, zs;
    if (!walled) {
        xs = east * unpacked(ge) + west * unpacked(gw);
        ys = south * unpacked(gs) + north * unpacked(gn);
        zs = far * unpacked(gf) + near * unpacked(gb);
    } else {
        xs = (ge != 0 ? east * unpacked(ge) : ZERO) + (gw != 0 ? west * unpacked(gw) : ZERO);
        ys = (gs != 0 ? south * unpacked(gs) : ZERO) + (gn != 0 ? north * unpacked(gn) : ZERO);
        zs = (gf != 0 ? far * unpacked(gf) : ZERO) + (gb != 0 ? near * unpacked(gb) : ZERO);
    }
    const REAL total = FMA(az, zs, FMA(ay, ys, ax * xs));
    const REAL old = momentum != 0 ? out[p] : centre;
    out[p] = centre + FMA(momentum, centre - old, total);
}
