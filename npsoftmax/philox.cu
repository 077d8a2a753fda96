// Philox4x32-10; the definition is in random.py. One thread a block of four words: it writes as many of them
// as the sample has `elements`, in one piece where rows of words begin at multiples of 16 bytes. `place`: where the step
// stands, or none.
KERNEL philox(const unsigned long long* samples, unsigned* words, const unsigned long long* place,
              unsigned long long step, unsigned key0, unsigned key1, int elements, int blocks, int items) {
    ITEM(i, items);
    if (place) step = place[0];
    const int n = i / blocks, block = i % blocks;
    unsigned c0 = (unsigned)block, c1 = (unsigned)samples[n], c2 = (unsigned)(samples[n] >> 32), c3 = (unsigned)step;
    for (int round = 0; round < 10; round++) {
        const unsigned long long product0 = (unsigned long long)c0 * 0xD2511F53u;
        const unsigned long long product1 = (unsigned long long)c2 * 0xCD9E8D57u;
        c0 = (unsigned)(product1 >> 32) ^ c1 ^ key0;
        c1 = (unsigned)product1;
        c2 = (unsigned)(product0 >> 32) ^ c3 ^ key1;
        c3 = (unsigned)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    if (elements % 4 == 0) {
        ((uint4*)words)[i] = make_uint4(c0, c1, c2, c3);
        return;
    }
    const unsigned word[4] = {c0, c1, c2, c3};
    for (int k = 0; k < 4 && 4 * block + k < elements; k++) words[n * elements + 4 * block + k] = word[k];
}
