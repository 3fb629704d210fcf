/* Diffusion of fourth order; see `numba.fourth_order`. Sums are in its order. */

/* Second difference along an axis with the stride s; 0 through a wall. */
HELPER REAL bend(GLOBAL const REAL *u, INDEX p, INDEX s, GLOBAL const uchar *faces, int walled,
                 INDEX f, int bit)
{
    const REAL centre = u[p], second = (u[p + s] - centre) - (centre - u[p - s]);
    return walled && !(faces[f] & faces[f - s] & bit) ? ZERO : second;
}

/* Mixed difference in the cell from a voxel to those one stride farther; 0 through a wall. */
HELPER REAL turn(GLOBAL const REAL *u, INDEX p, INDEX s, INDEX t, GLOBAL const uchar *faces,
                 int walled, INDEX f, int bit, int other_bit)
{
    const REAL mixed = (u[p + s + t] - u[p + s]) - (u[p + t] - u[p]);
    const int is_open = !walled || ((faces[f] & faces[f + t] & bit) &&
                                    (faces[f] & faces[f + s] & other_bit));
    return is_open ? mixed : ZERO;
}

/* Add the square of a mixed difference in units of 1/(r v), w times. */
HELPER REAL turn_square(REAL sum, REAL mixed, REAL r, REAL v, REAL w)
{
    mixed = mixed * r * v;
    return FMA(w, mixed * mixed, sum);
}

KERNEL(curvature2)(IN(REAL, u), SHAPE, const REAL bz, const REAL by, const REAL bx, IN(REAL, w),
                   IN(uchar, faces), const int walled, OUT(REAL, out))
{
    AT(u), AT(w), AT(faces), AT(out);
    ONE_CHANNEL_VOXEL;
    const REAL rz = SQRT(bz), ry = SQRT(by), rx = SQRT(bx);
    REAL total = ZERO, near = ZERO, far = ZERO, second;
    for (int c = 0; c < channels; c++) {
        const INDEX p = c * volume + v;
        const REAL share = HALF * w[c];
        if (z > 0 && z + 1 < nz) {
            second = bz * bend(u, p, plane, faces, walled, v, 1);
            total = FMA(w[c], second * second, total);
        }
        if (y > 0 && y + 1 < ny) {
            second = by * bend(u, p, row, faces, walled, v, 2);
            total = FMA(w[c], second * second, total);
        }
        if (x > 0 && x + 1 < nx) {
            second = bx * bend(u, p, 1, faces, walled, v, 4);
            total = FMA(w[c], second * second, total);
        }
        for (int j = 0; j < 2; j++) { /* the cells before the voxel, and those after it */
            const INDEX dy = (1 - j) * row, dz = (1 - j) * plane;
            const int in_rows = y + j > 0 && y + j < ny;
            for (int side = 0; side < 2; side++) { /* along the row: near and far */
                const INDEX q = side ? 0 : 1;
                REAL sum = side ? far : near;
                if (side ? x + 1 >= nx : x < 1)
                    continue;
                if (in_rows)
                    sum = turn_square(sum, turn(u, p - dy - q, row, 1, faces, walled, v - dy - q,
                                                2, 4), ry, rx, share);
                if (z + j > 0 && z + j < nz)
                    sum = turn_square(sum, turn(u, p - dz - q, plane, 1, faces, walled,
                                                v - dz - q, 1, 4), rz, rx, share);
                if (side)
                    far = sum;
                else
                    near = sum;
            }
            for (int k = 0; k < 2; k++) {
                const INDEX d = (1 - k) * plane + dy;
                if (in_rows && z + k > 0 && z + k < nz)
                    total = turn_square(total, turn(u, p - d, plane, row, faces, walled, v - d, 1,
                                                    2), rz, ry, share);
            }
        }
    }
    out[v] = total + (near + far);
}

/* Add c times a mixed difference with the sum of its four g. */
HELPER REAL add_turn(REAL sum, REAL c, REAL mixed, GLOBAL const REAL *g, INDEX q, INDEX s, INDEX t)
{
    return FMA(c, mixed * ((g[q] + g[q + t]) + (g[q + s] + g[q + s + t])), sum);
}

KERNEL(fourth_order_step)(IN(REAL, u), OUT(REAL, out), SHAPE, const REAL zz, const REAL yy,
                          const REAL xx, const REAL zy, const REAL zx, const REAL yx,
                          const REAL momentum, IN(REAL, g), IN(uchar, faces), const int walled)
{
    AT(u), AT(out), AT(g), AT(faces);
    VOXEL;
    REAL total = ZERO, near = ZERO, far = ZERO, bends[3];
    for (int k = 0; k < 3; k++) { /* the voxel before, itself, and the one after */
        const REAL a = k == 1 ? (REAL)2 : -ONE;
        const INDEX dz = (1 - k) * plane, dy = (1 - k) * row, dx = 1 - k;
        if (z + k > 1 && z + k < nz)
            total = FMA(a * zz, g[v - dz] * bend(u, p - dz, plane, faces, walled, v - dz, 1),
                        total);
        if (y + k > 1 && y + k < ny)
            total = FMA(a * yy, g[v - dy] * bend(u, p - dy, row, faces, walled, v - dy, 2), total);
        bends[k] = ZERO;
        if (x + k > 1 && x + k < nx)
            bends[k] = -xx * (g[v - dx] * bend(u, p - dx, 1, faces, walled, v - dx, 4));
    }
    for (int j = 0; j < 2; j++) { /* the cells before the voxel, and those after it */
        const INDEX dy = (1 - j) * row, dz = (1 - j) * plane;
        const int in_rows = y + j > 0 && y + j < ny;
        for (int side = 0; side < 2; side++) { /* along the row: near and far */
            const INDEX e = side ? 0 : 1, fy = v - dy - e, fz = v - dz - e;
            REAL sum = side ? far : near;
            if (side ? x + 1 >= nx : x < 1)
                continue;
            if (in_rows)
                sum = add_turn(sum, j ? yx : -yx,
                               turn(u, p - dy - e, row, 1, faces, walled, fy, 2, 4), g, fy, row, 1);
            if (z + j > 0 && z + j < nz)
                sum = add_turn(sum, j ? zx : -zx,
                               turn(u, p - dz - e, plane, 1, faces, walled, fz, 1, 4), g, fz,
                               plane, 1);
            if (side)
                far = sum;
            else
                near = sum;
        }
        for (int k = 0; k < 2; k++) {
            const INDEX d = (1 - k) * plane + dy;
            if (in_rows && z + k > 0 && z + k < nz)
                total = add_turn(total, j == k ? -zy : zy,
                                 turn(u, p - d, plane, row, faces, walled, v - d, 1, 2), g, v - d,
                                 plane, row);
        }
    }
    const REAL along = FMA(-(REAL)2, bends[1], bends[0] + bends[2]);
    const REAL change = total + (along + (near - far)), centre = u[p];
    out[p] = centre + (momentum != 0 ? FMA(momentum, centre - out[p], change) : change);
}
