/* Stages with a diffusivity of each face's difference, and of linear diffusion; see `numba.stages`.

   A work item computes the fluxes through all faces of its voxel. Both voxels of a face compute the
   same number. */

/* Flux through the face from p to p + up of one channel. `factor` is the mean reciprocal factor of
   the threshold. */
HELPER REAL face_flux(int code, GLOBAL const REAL *u, INDEX p, INDEX up, REAL a, REAL b, int mapped,
                      REAL factor)
{
    const REAL d = u[p + up] - u[p];
    REAL s = b * d;
    if (mapped)
        s = s * factor;
    return flux_of(code, a * d, s * s, FMA(s, s, ONE));
}

/* Flux of one channel with the conductance that all channels share. */
HELPER REAL shared_flux(int code, GLOBAL const REAL *u, INDEX v, INDEX up, INDEX volume,
                        int channels, int channel, REAL a, REAL b, GLOBAL const REAL *w, int mapped,
                        REAL factor)
{
    REAL q = ZERO, d;
    for (int c = 0; c < channels; c++) {
        d = u[c * volume + v + up] - u[c * volume + v];
        q = FMA(w[c] * b * b, d * d, q);
    }
    if (mapped)
        q = q * (factor * factor);
    q = flux_of(code, ONE, q, ONE + q);
    d = u[channel * volume + v + up] - u[channel * volume + v];
    return (a * q) * d;
}

KERNEL(face_difference_step)(IN(REAL, u), OUT(REAL, out), SHAPE, const REAL az, const REAL ay,
                             const REAL ax, const REAL bz, const REAL by, const REAL bx,
                             const REAL momentum, const int code, IN(REAL, k), const int mapped,
                             IN(uchar, faces), const int walled, IN(REAL, w))
{
    AT(u), AT(out), AT(k), AT(faces), AT(w);
    VOXEL;
    const int shared = channels > 1 || walled, channel = line / nz;
    REAL flux[6];
    for (int side = 0; side < 6; side++) {
        const int axis = side >> 1;
        const INDEX stride = axis == 0 ? plane : axis == 1 ? row : 1;
        const INDEX towards = side == 0   ? before
                              : side == 1 ? beyond
                              : side == 2 ? above
                              : side == 3 ? below
                              : side == 4 ? left
                                          : right;
        const INDEX low = side & 1 ? v : v - stride;
        const REAL a = axis == 0 ? az : axis == 1 ? ay : ax;
        const REAL b = axis == 0 ? bz : axis == 1 ? by : bx;
        flux[side] = ZERO;
        if (towards && !(walled && !(faces[low] & (4 >> (2 - axis))))) {
            const REAL factor = mapped ? HALF * (k[low] + k[low + stride]) : ONE;
            flux[side] = shared ? shared_flux(code, u, low, stride, volume, channels, channel, a, b,
                                              w, mapped, factor)
                                : face_flux(code, u, low, stride, a, b, mapped, factor);
        }
    }
    const REAL centre = u[p];
    const REAL change =
        (flux[5] - flux[4]) + ((flux[3] - flux[2]) + (flux[1] - flux[0]));
    REAL result = centre + change;
    if (momentum != 0)
        result = FMA(momentum, centre - out[p], result);
    out[p] = result;
}

/* Linear diffusion (without g), or with a diffusivity at the voxels. */
KERNEL(voxel_step)(IN(REAL, u), OUT(REAL, out), SHAPE, const REAL az, const REAL ay, const REAL ax,
                   const REAL momentum, IN(REAL, g), const int has_g, IN(uchar, faces),
                   const int walled)
{
    AT(u), AT(out), AT(g), AT(faces);
    VOXEL;
    const REAL centre = u[p];
    REAL east = u[p + right] - centre, west = u[p - left] - centre;
    REAL south = u[p + below] - centre, north = u[p - above] - centre;
    REAL far = u[p + beyond] - centre, near = u[p - before] - centre;
    REAL xs, ys, zs;
    if (has_g) {
        const REAL own = g[v];
        const REAL ge = own + g[v + right], gw = own + g[v - left];
        const REAL gs = own + g[v + below], gn = own + g[v - above];
        const REAL gf = own + g[v + beyond], gb = own + g[v - before];
        if (!walled) {
            xs = FMA(east, ge, west * gw);
            ys = FMA(south, gs, north * gn);
            zs = FMA(far, gf, near * gb);
        } else {
            east = east * ge, west = west * gw, south = south * gs;
            north = north * gn, far = far * gf, near = near * gb;
        }
    }
    if (walled) {
        east = faces[v] & 4 ? east : ZERO;
        west = faces[v - left] & 4 ? west : ZERO;
        south = faces[v] & 2 ? south : ZERO;
        north = faces[v - above] & 2 ? north : ZERO;
        far = faces[v] & 1 ? far : ZERO;
        near = faces[v - before] & 1 ? near : ZERO;
    }
    if (walled || !has_g)
        xs = east + west, ys = south + north, zs = far + near;
    const REAL total = FMA(az, zs, FMA(ax, xs, ay * ys));
    const REAL old = momentum != 0 ? out[p] : centre;
    out[p] = centre + FMA(momentum, centre - old, total);
}
