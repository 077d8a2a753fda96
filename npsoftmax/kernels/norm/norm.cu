// Sums of columns, and batch norm with ReLU or SiLU; what each does is in reference.py. Sums run in double precision.
// A block sums 32 columns of `each` rows: thread t has column t % 32 and every (BLOCK / 32)th row, so that 32 threads
// read 32 neighbours. What the blocks of a column found is added up, in order, by a second kernel.
#define WIDTH 32
#define LANES (BLOCK / WIDTH)

struct Place {
    int column, lane, first, end;
    bool inside;
};

__device__ inline Place place_of(int m, int c, int each) {
    Place p;
    p.column = (int)(blockIdx.x * WIDTH + threadIdx.x % WIDTH);
    p.lane = (int)(threadIdx.x / WIDTH);
    p.first = (int)blockIdx.y * each;
    p.end = p.first + each < m ? p.first + each : m;
    p.inside = p.column < c;
    return p;
}

// Adds up the lanes of each column and writes the sum of this block's rows.
__device__ inline void write_sum(Place p, double value, double* room, double* sums, int c) {
    room[threadIdx.x] = value;
    __syncthreads();
    if (p.lane == 0 && p.inside) {
        double sum = 0;
        for (int lane = 0; lane < LANES; lane++) sum += room[lane * WIDTH + (int)threadIdx.x];
        sums[(long long)blockIdx.y * c + p.column] = sum;
    }
    __syncthreads();
}

KERNEL column_sum(const stored* rows, double* sums, int m, int c, int each) {
    __shared__ double room[BLOCK];
    const Place p = place_of(m, c, each);
    double sum = 0;
    if (p.inside)
        for (int r = p.first + p.lane; r < p.end; r += LANES) sum += wide(rows[(long long)r * c + p.column]);
    write_sum(p, sum, room, sums, c);
}

// Of x - K and its square, K the first row: a large mean, squared, would cost digits.
KERNEL column_moments(const stored* rows, double* sums, double* squares, int m, int c, int each) {
    __shared__ double room[BLOCK];
    const Place p = place_of(m, c, each);
    double sum = 0, square = 0;
    if (p.inside) {
        const double shift = wide(rows[p.column]);
        for (int r = p.first + p.lane; r < p.end; r += LANES) {
            const double value = wide(rows[(long long)r * c + p.column]) - shift;
            sum += value;
            square += value * value;
        }
    }
    write_sum(p, sum, room, sums, c);
    write_sum(p, square, room, squares, c);
}

KERNEL add_parts(const double* sums, real* out, int parts, int c) {
    ITEM(i, c);
    double sum = 0;
    for (int part = 0; part < parts; part++) sum += sums[(long long)part * c + i];
    out[i] = (real)sum;
}

KERNEL finish_moments(const double* sums, const double* squares, const stored* rows, real* mean, real* var, int parts,
                      int m, int c) {
    ITEM(i, c);
    double sum = 0, square = 0;
    for (int part = 0; part < parts; part++) {
        sum += sums[(long long)part * c + i];
        square += squares[(long long)part * c + i];
    }
    const double centred = square - sum / m * sum;
    mean[i] = (real)(wide(rows[i]) + sum / m);
    var[i] = (real)(centred < 0 ? 0 : centred / m);
}

// ---------------------------------------------------------------- batch norm
#define RELU 1
#define SILU 2

// The gradient of y = (x - mean) * factor + shift, given that of what comes after it.
__device__ inline real through(real dy, real x, real mean, real factor, real shift, int after) {
    const real y = (x - mean) * factor + shift;
    if (after == SILU) return dy * silu_slope(y);
    return after != RELU || y > 0 ? dy : (real)0;
}

KERNEL normalise(const stored* x, const real* mean, const real* factor, const real* shift, stored* y, int c, int after,
                 int items) {
    FIRST_OF_PACK(i, items);
    Pack values = pack_at(x, i, items);
    const Reals mu = reals_at(mean, i % c, c), f = reals_at(factor, i % c, c), s = reals_at(shift, i % c, c);
    for (int k = 0; k < PACK; k++) {
        const real value = (wide(values.value[k]) - mu.value[k]) * f.value[k] + s.value[k];
        values.value[k] = narrow(after == SILU ? value * sigmoid(value) : after == RELU && value < 0 ? (real)0 : value);
    }
    write_pack(values, y, i, items);
}

KERNEL normalise_sums(const stored* dy, const stored* x, const real* mean, const real* factor, const real* shift,
                      double* sums, double* products, int after, int m, int c, int each) {
    __shared__ double room[BLOCK];
    const Place p = place_of(m, c, each);
    double sum = 0, product = 0;
    if (p.inside) {
        const real mu = mean[p.column], f = factor[p.column], s = shift[p.column];
        for (int r = p.first + p.lane; r < p.end; r += LANES) {
            const long long at = (long long)r * c + p.column;
            const real value = wide(x[at]), g = through(wide(dy[at]), value, mu, f, s, after);
            sum += g;
            product += (double)g * (value - mu);
        }
    }
    write_sum(p, sum, room, sums, c);
    write_sum(p, product, room, products, c);
}

KERNEL normalise_dx(const stored* dy, const stored* x, const real* mean, const real* factor, const real* shift,
                    const real* slope, const real* offset, stored* dx, int c, int after, int items) {
    FIRST_OF_PACK(i, items);
    Pack gradients = pack_at(dy, i, items);
    const Pack values = pack_at(x, i, items);
    const Reals mu = reals_at(mean, i % c, c), f = reals_at(factor, i % c, c), s = reals_at(shift, i % c, c);
    const Reals sl = reals_at(slope, i % c, c), off = reals_at(offset, i % c, c);
    for (int k = 0; k < PACK; k++) {
        const real value = wide(values.value[k]), centred = value - mu.value[k];
        const real g = through(wide(gradients.value[k]), value, mu.value[k], f.value[k], s.value[k], after);
        gradients.value[k] = narrow(g * f.value[k] + centred * sl.value[k] + off.value[k]);
    }
    write_pack(gradients, dx, i, items);
}

// ---------------------------------------------------------------- layer norm: a block a row
KERNEL layer_norm(const stored* x, const real* gamma, const real* beta, stored* y, real* mean, real* scale, real eps,
                  int d) {
    __shared__ double room[BLOCK];
    const long long start = (long long)blockIdx.x * d;
    double sum = 0, square = 0;
    for (int k = (int)threadIdx.x; k < d; k += BLOCK) sum += wide(x[start + k]);
    const double mu = block_sum(sum, room) / d;
    for (int k = (int)threadIdx.x; k < d; k += BLOCK) {
        const double centred = wide(x[start + k]) - mu;
        square += centred * centred;
    }
    const real s = (real)(1 / sqrt(block_sum(square, room) / d + eps));
    for (int k = (int)threadIdx.x; k < d; k += BLOCK) {
        const real normal = (real)(wide(x[start + k]) - mu) * s;
        y[start + k] = narrow(beta ? normal * gamma[k] + beta[k] : normal * gamma[k]);
    }
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = (real)mu;
        scale[blockIdx.x] = s;
    }
}

KERNEL layer_norm_dx(const stored* dy, const stored* x, const real* gamma, const real* mean, const real* scale,
                     stored* dx, int d) {
    __shared__ double room[BLOCK];
    const long long start = (long long)blockIdx.x * d;
    const real mu = mean[blockIdx.x], s = scale[blockIdx.x];
    double sum = 0, product = 0;
    for (int k = (int)threadIdx.x; k < d; k += BLOCK) {
        const real g = wide(dy[start + k]) * gamma[k];
        sum += g;
        product += (double)g * ((wide(x[start + k]) - mu) * s);
    }
    const double mean_g = block_sum(sum, room) / d, mean_product = block_sum(product, room) / d;
    for (int k = (int)threadIdx.x; k < d; k += BLOCK) {
        const real g = wide(dy[start + k]) * gamma[k], normal = (wide(x[start + k]) - mu) * s;
        dx[start + k] = narrow((real)((g - mean_g - normal * mean_product) * s));
    }
}

// dgamma and dbeta: sums over the rows, as those of columns above.
KERNEL layer_norm_sums(const stored* dy, const stored* x, const real* mean, const real* scale, double* dgamma,
                       double* dbeta, int m, int c, int each) {
    __shared__ double room[BLOCK];
    const Place p = place_of(m, c, each);
    double sum = 0, product = 0;
    if (p.inside) {
        for (int r = p.first + p.lane; r < p.end; r += LANES) {
            const long long at = (long long)r * c + p.column;
            const real g = wide(dy[at]);
            sum += g;
            product += (double)g * ((wide(x[at]) - mean[r]) * scale[r]);
        }
    }
    write_sum(p, product, room, dgamma, c);
    write_sum(p, sum, room, dbeta, c);
}
