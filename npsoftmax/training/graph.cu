// A step that is replayed as a CUDA graph is the same program each time: what is its own, it reads here.

// The row of two tables that belongs to the step, into places that never change; the next step has the next row.
KERNEL next_step(const unsigned long long* counts, const double* rates, unsigned long long* row,
                 unsigned long long* counts_now, double* rates_now, int n_counts, int n_rates, int items) {
    ITEM(i, items);
    for (int k = 0; k < n_counts; k++) counts_now[k] = counts[row[0] * n_counts + k];
    for (int k = 0; k < n_rates; k++) rates_now[k] = rates[row[0] * n_rates + k];
    row[i] += 1;
}

// The samples of a batch that begins at `place` of the epoch's order.
KERNEL pick(const long long* order, const unsigned long long* place, long long* samples, int items) {
    ITEM(i, items);
    samples[i] = order[place[0] + i];
}

// Loss and number of right predictions (or none) of a step into the next of the slots, of which there are so many.
KERNEL keep(const real* loss, const double* right, double* slots, unsigned long long* next, int n, int items) {
    ITEM(i, items);
    double* slot = slots + 2 * (next[i] % n);
    slot[0] = loss[0];
    slot[1] = right ? right[0] : 0;
    next[i] += 1;
}
