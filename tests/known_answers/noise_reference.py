#!/usr/bin/env python3
"""The noise specification of docs/noise.md in plain Python: written from that page alone, to check the page and the library.

    noise_reference.py --write    writes the vector files beside this script
    noise_reference.py --check    computes them again and compares; exit code 1 if they differ

A float32 is a Python float (a double) that holds a float32 value. Sums, differences, products and square roots of two such values,
rounded to double and then to float32, are correctly rounded float32 results, since 53 >= 2 * 24 + 2. Only fma needs more care.
"""
import math
import os
import struct
import sys

MASK = 0xFFFFFFFF
DISTRIBUTIONS = ("normal", "gumbel", "logistic", "laplace")


# ---------------------------------------------------------------- float32

def f32(x):
    """Rounds a double to the nearest float32, ties to even."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def from_bits(word):
    return struct.unpack("<f", struct.pack("<I", word & MASK))[0]


def fma(a, b, c):
    """a * b + c, rounded once. The product is exact in double; the sum is rounded to odd, so that rounding it again is harmless."""
    p = a * b
    s = p + c
    t = s - p
    error = (p - (s - t)) + (c - t)  # s + error = p + c exactly
    if error != 0:
        pattern = struct.unpack("<q", struct.pack("<d", s))[0]
        if pattern % 2 == 0:
            s = struct.unpack("<d", struct.pack("<q", pattern + (1 if (error > 0) == (s > 0) else -1)))[0]
    return f32(s)


def horner(x, *coefficients):
    s = coefficients[0]
    for c in coefficients[1:]:
        s = fma(s, x, c)
    return s


def constants(*texts):
    return [float.fromhex(t) for t in texts]


def signed(word):
    return word - (1 << 32) if word >> 31 else word


# ---------------------------------------------------------------- words

def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words_of(seed, row, sample, item):
    """The four words of the block of four items that `item` lies in."""
    return philox((item >> 2, 0, sample, row), (seed & MASK, seed >> 32))


# ---------------------------------------------------------------- building blocks

LOG = constants("-0x1.665dccp-3", "0x1.255856p-2", "-0x1.318864p-2", "0x1.534d96p-2", "-0x1.98d11ap-2", "0x1.000514p-1", "-0x1.5556fcp-1",
                "0x1.fffff8p-1", "-0x1p1")
LOG_2, = constants("-0x1.62e43p-23")
SINE = constants("-0x1.2f5992p-1", "0x1.466b2p1", "-0x1.4abbecp2", "0x1.921fb6p1")
COSINE = constants("-0x1.4ea1aep0", "0x1.03b132p2", "-0x1.3bd3ap2", "0x1p0")
EXP = constants("0x1.6a4ce4p-10", "0x1.123988p-7", "0x1.5558bp-5", "0x1.555492p-3", "0x1.fffffcp-2", "0x1p0", "0x1p0")
INVERSE_LOG_2, LOG_2_HIGH, LOG_2_LOW, ROUNDER = constants("0x1.715476p0", "-0x1.62p-1", "-0x1.c85fep-10", "0x1.8p23")
FLT_MAX, = constants("0x1.fffffep127")


def complement(w):
    return w ^ MASK


def uniform(w):
    return fma(f32(w), 2.0**-32, 2.0**-33)


def split(u):
    e = (bits(u) - 0x3F3504F3) & 0xFF800000
    return e, f32(from_bits(bits(u) - e) - 1.0)


def log2m(e, f):
    return fma(f32(signed(e)), LOG_2, f32(f * horner(f, *LOG)))


def log2m_uniform(u, v):
    e, f = split(u)
    return log2m(e, -v if e == 0 else f)


def exponential_of(w):
    return f32(0.5 * log2m_uniform(uniform(w), uniform(complement(w))))


# ---------------------------------------------------------------- distributions

def normal_pair(w0, w1):
    r = f32(math.sqrt(log2m_uniform(uniform(w0), uniform(complement(w0)))))
    shifted = (w1 + 0x20000000) & MASK
    t = fma(f32((shifted & 0x3FFFFFFF) - 0x20000000), 2.0**-31, 2.0**-32)
    t2 = f32(t * t)
    sine, cosine = f32(t * horner(t2, *SINE)), horner(t2, *COSINE)
    if shifted & 0x40000000:
        sine, cosine = cosine, sine
    sine = from_bits(bits(sine) ^ (shifted & 0x80000000))
    cosine = from_bits(bits(cosine) ^ ((shifted + 0x40000000) & 0x80000000))
    return f32(r * sine), f32(r * cosine)


def gumbel(w):
    e, f = split(exponential_of(w))
    return f32(0.5 * log2m(e, f))


def laplace(w):
    h = min(w, complement(w))
    u, v = fma(f32(h), 2.0**-31, 2.0**-32), fma(f32(h ^ 0x7FFFFFFF), 2.0**-31, 2.0**-32)
    return from_bits(bits(f32(0.5 * log2m_uniform(u, v))) ^ (complement(w) & 0x80000000))


def noise_pair(distribution, w0, w1):
    """Z of the items of two words: a pair of a block's words for the normal distribution, any two words for the others."""
    if distribution == "normal":
        return normal_pair(w0, w1)
    one = {"gumbel": gumbel, "logistic": lambda w: f32(exponential_of(complement(w)) - exponential_of(w)), "laplace": laplace}[distribution]
    return one(w0), one(w1)


def score_pair(distribution, w0, w1):
    """S of the same items."""
    if distribution == "normal":
        return normal_pair(w0, w1)
    one = {
        "gumbel": lambda w: f32(1.0 - exponential_of(w)),
        "logistic": lambda w: f32(uniform(w) - uniform(complement(w))),
        "laplace": lambda w: from_bits(0x3F800000 | (complement(w) & 0x80000000)),
    }[distribution]
    return one(w0), one(w1)


def noise(distribution, seed, row, sample, item):
    w = words_of(seed, row, sample, item)
    pair = item & 2
    return noise_pair(distribution, w[pair], w[pair + 1])[item & 1]


# ---------------------------------------------------------------- Latin samples

CENTRAL = constants("-0x1.937f08p-46", "0x1.1bf776p-41", "0x1.68e4fcp-39", "-0x1.9c4566p-33", "0x1.1c6016p-29", "0x1.72bfe2p-27", "-0x1.715ff4p-21",
                    "0x1.608e7p-17", "-0x1.2e4b88p-15", "-0x1.4ea15ep-9", "0x1.4ab15cp-3", "0x1.507998p1")
TAIL = constants("-0x1.172b6cp-16", "0x1.90ba5ap-15", "-0x1.3151dap-14", "0x1.9caa6ep-13", "-0x1.68d81cp-11", "0x1.99ea16p-10", "0x1.022e34p0",
                 "0x1.414362p2")


def mix(h):
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def stratum(seed, row, item, m, samples):
    q = philox((item, 1, 0, row), (seed & MASK, seed >> 32))
    x = m
    for r in range(1, 17):
        key = mix((q[0] + r * (q[2] | 1)) & MASK)
        y = ((key * samples >> 32) - x) % samples
        h = (max(x, y) ^ key) * 0x9E3779B1 & MASK
        h = ((h ^ h >> 15) + q[3]) * 0x85EBCA77 & MASK
        if h >> 31:
            x = y
    return (x + (q[1] * samples >> 32)) % samples


def inverse_normal(w):
    h = min(w, complement(w))
    u, x = fma(f32(h), 2.0**-31, 2.0**-32), fma(f32(h ^ 0x7FFFFFFF), 2.0**-31, 2.0**-32)
    l = log2m_uniform(f32(u * f32(2.0 - u)), f32(x * x))
    p = horner(f32(f32(math.sqrt(l)) - 5.25), *TAIL) if l > 16.0 else horner(f32(l - 8.0), *CENTRAL)
    return from_bits(bits(f32(x * p)) ^ (complement(w) & 0x80000000))


def latin_noise(distribution, seed, row, m, item, samples):
    w = (stratum(seed, row, item, m, samples) << 32 | words_of(seed, row, m, item)[item & 3]) // samples
    return inverse_normal(w) if distribution == "normal" else noise_pair(distribution, w, w)[0]


# ---------------------------------------------------------------- sums of gammas

THIRD, = constants("0x1.555556p-2")


def gamma_noise(k, terms, seed, row, sample, item):
    K = f32(k)
    d = f32(f32(1.0 + f32(1.0 / K)) - THIRD)
    slope = f32(1.0 / f32(math.sqrt(f32(9.0 * d))))
    z = f32(f32(0.5 * log2m(*split(f32(terms)))) / K)
    for i in range(1, terms + 1):
        for attempt in range(8):
            w = philox((item, 16 + 8 * (i - 1) + attempt, sample, row), (seed & MASK, seed >> 32))
            if attempt == 0:
                power = exponential_function(f32(-K * exponential_of(w[3])))
            x = normal_pair(w[0], w[1])[0]
            a = max(fma(slope, x, 1.0), 2.0**-40)
            v = f32(f32(a * a) * a)
            bound = fma(f32(2.0 * d), f32(v - 1.0), fma(d, log2m(*split(v)), f32(0.0 - f32(x * x))))
            if log2m_uniform(uniform(w[2]), uniform(complement(w[2]))) > bound:
                break
        z = fma(f32(f32(d * v) * power), f32(1.0 / f32(i)), z)
    return min(z, 32.0)


# ---------------------------------------------------------------- perturbed scores

def exponential_function(a):
    a = min(max(a, -86.0), 88.0)
    shifted = fma(a, INVERSE_LOG_2, ROUNDER)
    k = f32(shifted - ROUNDER)
    r = fma(k, LOG_2_LOW, fma(k, LOG_2_HIGH, a))
    return from_bits(bits(horner(r, *EXP)) + (bits(shifted) << 23))


def additive_score(theta, epsilon, z):
    """epsilon negative: the oracle minimises."""
    return fma(epsilon, z, theta)


def multiplicative_factor(epsilon, z):
    return exponential_function(fma(epsilon, z, f32(-0.5 * f32(epsilon * epsilon))))


def multiplicative_score(theta, epsilon, z):
    s = theta * multiplicative_factor(epsilon, z)
    return min(max(s, -FLT_MAX), FLT_MAX) if abs(s) >= FLT_MAX else f32(s)


# ---------------------------------------------------------------- vector files

SEEDS = (0, 1, 42, 0x0123456789ABCDEF, 0xFEDCBA9876543210, 2**64 - 1)
INDICES = (0, 1, 2, 5, 1000003, 2**31, 2**32 - 1)
EDGE_WORDS = (0, 1, 2, 0x72, 0x181, 0x1FFFFFFF, 0x20000000, 0x3FFFFFFF, 0x40000000, 0x5DFFFFFF, 0x5E2D5841, 0x5E2D58D8, 0x5FFFFFFF, 0x60000000, 0x7FFFFF80,
              0x7FFFFFFF, 0x80000000, 0x9E062010, 0x9FFFFFFF, 0xA0000000, 0xB504F2FF, 0xB504F300, 0xB504F380, 0xBFFFFFFF, 0xC0000000, 0xDFFFFFFF, 0xE0000000,
              0xFFFFFE7E, 0xFFFFFF7F, 0xFFFFFFFE, 0xFFFFFFFF)


def spread(count):
    """Words that have nothing to do with the noise: multiples of the golden ratio."""
    return [i * 0x9E3779B9 & MASK for i in range(1, count + 1)]


def noise_vectors():
    yield "distribution,seed,row,sample,item,z"
    for distribution in DISTRIBUTIONS:
        for seed in SEEDS:
            for row in INDICES:
                for sample in INDICES:
                    if (seed, row, sample) == (42, 0, 0):
                        items = list(range(40)) + list(range(510, 520)) + [4095, 4096, 4099, 65535, 65536, 1000000]
                    else:
                        items = [(row + 3 * sample + seed) % 97, 100 + (row ^ sample) % 5]
                    for item in items:
                        yield f"{distribution},{seed},{row},{sample},{item},{bits(noise(distribution, seed, row, sample, item)):08x}"


def kind_vectors():
    yield "kind,k,terms,samples,seed,row,sample,item,z"
    for seed in SEEDS[1:4]:
        for row in (0, 7, 2**32 - 1):
            for samples in (1, 2, 7, 100, 4096):
                for distribution in DISTRIBUTIONS:
                    for sample in sorted({0, samples // 3, samples - 1}):
                        for item in (0, 3, 18):
                            yield f"latin_{distribution},0,0,{samples},{seed},{row},{sample},{item},{bits(latin_noise(distribution, seed, row, sample, item, samples)):08x}"
            for k, terms in ((1, 1), (1, 10), (2, 1), (3, 10), (10, 3), (1000, 7), (2**20, 2)):
                for sample in (0, 5, 2**32 - 1):
                    for item in (0, 2, 21):
                        yield f"sum_of_gamma,{k},{terms},1,{seed},{row},{sample},{item},{bits(gamma_noise(k, terms, seed, row, sample, item)):08x}"


def transform_vectors():
    yield "distribution,w0,w1,z0,z1,s0,s1"
    pairs = [(a, EDGE_WORDS[(5 * i + 3) % len(EDGE_WORDS)]) for i, a in enumerate(EDGE_WORDS)] + [(0, w) for w in EDGE_WORDS] + [(0x72, 0x9E062010)]
    words = spread(400)
    pairs += list(zip(words[::2], words[1::2]))
    for distribution in DISTRIBUTIONS:
        for w0, w1 in pairs:
            values = noise_pair(distribution, w0, w1) + score_pair(distribution, w0, w1)
            yield f"{distribution},{w0:08x},{w1:08x}," + ",".join(f"{bits(x):08x}" for x in values)


def score_vectors():
    yield "mode,theta,epsilon,z,w,s"
    words = spread(300)
    thetas = [f32(x) for x in (0.0, -0.0, 1.0, -2.5, 0.1, 1e-3, 123.456, -3.4e38, 1e30, 1e-38)]
    epsilons = [f32(x) for x in (0.0, 0.05, 0.5, 1.0, 1.7, 5.0, 13.0)]
    for i, (w0, w1) in enumerate(zip(words[::2], words[1::2])):
        theta, epsilon = thetas[i % len(thetas)], epsilons[i // 3 % len(epsilons)]
        for z in normal_pair(w0, w1):
            for signed_epsilon in (epsilon, -epsilon):
                yield f"additive,{bits(theta):08x},{bits(signed_epsilon):08x},{bits(z):08x},,{bits(additive_score(theta, signed_epsilon, z)):08x}"
            w = multiplicative_factor(epsilon, z)
            yield (f"multiplicative,{bits(theta):08x},{bits(epsilon):08x},{bits(z):08x},{bits(w):08x},"
                   f"{bits(multiplicative_score(theta, epsilon, z)):08x}")


FILES = {"noise_vectors.csv": noise_vectors, "kind_vectors.csv": kind_vectors, "transform_vectors.csv": transform_vectors, "score_vectors.csv": score_vectors}


def main(arguments):
    if arguments not in (["--write"], ["--check"]):
        sys.exit(__doc__)
    assert philox((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    folder = os.path.dirname(os.path.abspath(__file__))
    differing = []
    for name, rows in FILES.items():
        text = "\n".join(rows()) + "\n"
        path = os.path.join(folder, name)
        if arguments == ["--write"]:
            with open(path, "w", newline="\n") as file:
                file.write(text)
        else:
            with open(path, newline="") as file:
                if file.read() != text:
                    differing.append(name)
    if differing:
        sys.exit("not what noise_reference.py computes: " + ", ".join(differing))


if __name__ == "__main__":
    main(sys.argv[1:])
