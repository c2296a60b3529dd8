/**
 * Unpacks what Python's `lzma.compress(data, format=lzma.FORMAT_ALONE)` has packed: a quarter smaller than gzip, which is
 * what browsers can unpack by themselves.
 *
 * Names are those of Igor Pavlov's specification of LZMA, which is in the public domain.
 */

/** A probability of one half, in parts of 2048. */
const HALF = 1024;

/** Reads bits, each by the probability that was learnt of its kind. */
class Decoder {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at + 1; // The first byte is always 0.
    this.range = 0xffffffff;
    this.code = 0;
    for (let i = 0; i < 4; i++) this.code = ((this.code << 8) | this.bytes[this.at++]) >>> 0;
  }

  /** A bit by the probability `probs[index]`. */
  bit(probs, index) {
    const prob = probs[index];
    const bound = (this.range >>> 11) * prob;
    let bit = 0;
    if (this.code < bound) {
      this.range = bound;
      probs[index] = prob + ((2048 - prob) >>> 5);
    } else {
      bit = 1;
      this.range -= bound;
      this.code -= bound;
      probs[index] = prob - (prob >>> 5);
    }
    this.fill();
    return bit;
  }

  /** A number of so many bits that were packed as they are. */
  direct(count) {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.range = this.range >>> 1;
      const bit = this.code >= this.range ? 1 : 0;
      if (bit) this.code -= this.range;
      value = value * 2 + bit;
      this.fill();
    }
    return value;
  }

  fill() {
    if (this.range >= 0x1000000) return;
    this.range = (this.range << 8) >>> 0;
    this.code = ((this.code << 8) | this.bytes[this.at++]) >>> 0;
  }

  /** A number of so many bits, the highest first, each with a probability that depends on those before. */
  tree(probs, offset, count) {
    let index = 1;
    for (let i = 0; i < count; i++) index = 2 * index + this.bit(probs, offset + index);
    return index - (1 << count);
  }

  /** The same, the lowest bit first. */
  reversed(probs, offset, count) {
    let index = 1;
    let value = 0;
    for (let i = 0; i < count; i++) {
      const bit = this.bit(probs, offset + index);
      index = 2 * index + bit;
      value |= bit << i;
    }
    return value;
  }
}

/** Probabilities that nothing has been learnt of yet. */
const fresh = (count) => new Uint16Array(count).fill(HALF);

/** Lengths of matches: short, middle and long ones. */
class Lengths {
  constructor() {
    this.choice = fresh(2);
    this.low = fresh(16 << 3);
    this.middle = fresh(16 << 3);
    this.high = fresh(256);
  }

  read(decoder, position) {
    if (!decoder.bit(this.choice, 0)) return 2 + decoder.tree(this.low, position << 3, 3);
    if (!decoder.bit(this.choice, 1)) return 10 + decoder.tree(this.middle, position << 3, 3);
    return 18 + decoder.tree(this.high, 0, 8);
  }
}

/**
 * @param {Uint8Array} packed
 * @returns {Uint8Array}
 */
export function unpack(packed) {
  const lc = packed[0] % 9;
  const lp = Math.floor(packed[0] / 9) % 5;
  const positions = (1 << Math.floor(packed[0] / 45)) - 1;
  // Behind that byte stand the size of the dictionary and that of the data, which an end mark says instead.
  const decoder = new Decoder(packed, 13);
  const literals = fresh(0x300 << (lc + lp));
  const [isMatch, isRepLong] = [fresh(12 << 4), fresh(12 << 4)];
  const [isRep, isRep0, isRep1, isRep2] = [fresh(12), fresh(12), fresh(12), fresh(12)];
  const [slots, special, align] = [fresh(4 << 6), fresh(128), fresh(16)];
  const [lengths, repLengths] = [new Lengths(), new Lengths()];
  let out = new Uint8Array(4 * packed.length);
  let size = 0;
  let state = 0;
  let rep = [0, 0, 0, 0];

  const room = (count) => {
    if (size + count <= out.length) return;
    const larger = new Uint8Array(2 * (size + count));
    larger.set(out);
    out = larger;
  };

  const literal = () => {
    const before = size ? out[size - 1] : 0;
    const offset = 0x300 * (((size & ((1 << lp) - 1)) << lc) + (before >>> (8 - lc)));
    let symbol = 1;
    if (state >= 7) {
      // Behind a match the byte that would have gone on with it is known not to come.
      let expected = out[size - rep[0] - 1];
      while (symbol < 0x100) {
        const high = (expected >>> 7) & 1;
        expected <<= 1;
        const bit = decoder.bit(literals, offset + ((1 + high) << 8) + symbol);
        symbol = 2 * symbol + bit;
        if (high !== bit) break;
      }
    }
    while (symbol < 0x100) symbol = 2 * symbol + decoder.bit(literals, offset + symbol);
    room(1);
    out[size++] = symbol & 0xff;
    if (state < 4) state = 0;
    else state -= state < 10 ? 3 : 6;
  };

  const distance = (length) => {
    const slot = decoder.tree(slots, Math.min(length - 2, 3) << 6, 6);
    if (slot < 4) return slot;
    const bits = (slot >>> 1) - 1;
    const start = (2 | (slot & 1)) * 2 ** bits;
    if (slot < 14) return start + decoder.reversed(special, start - slot, bits);
    return start + decoder.direct(bits - 4) * 16 + decoder.reversed(align, 0, 4);
  };

  for (;;) {
    const position = size & positions;
    if (!decoder.bit(isMatch, (state << 4) + position)) {
      literal();
      continue;
    }
    let length = 1;
    if (!decoder.bit(isRep, state)) {
      length = lengths.read(decoder, position);
      rep = [distance(length), rep[0], rep[1], rep[2]];
      if (rep[0] === 0xffffffff) return out.subarray(0, size);
      state = state < 7 ? 7 : 10;
    } else {
      // One of the last four distances: which, and for how long.
      const which = decoder.bit(isRep0, state) && 1 + (decoder.bit(isRep1, state) && 1 + decoder.bit(isRep2, state));
      const long = which > 0 || decoder.bit(isRepLong, (state << 4) + position);
      rep = [rep[which], ...rep.filter((_, i) => i !== which)];
      if (long) length = repLengths.read(decoder, position);
      if (long) state = state < 7 ? 8 : 11;
      else state = state < 7 ? 9 : 11;
    }
    room(length);
    for (const end = size + length; size < end; size++) out[size] = out[size - rep[0] - 1];
  }
}
