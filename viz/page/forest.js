/* The forest as arrays, one entry a row in pre-order: the clade of i is i to i + size[i]. Relations
   between organisms are asked here; nothing here draws. */

export const ALIVE = 0;
export const AGAINST = 1;
export const CULLED = 2;
export const GHOST = 3;
export const PROTECTED = 4;
export const BEARING = 8;
export const ESTIMATED = 16;
export const PROPOSED = 32;
export const GUARDED = 64;
export const BUNDLE = 128;
const UNKNOWN = 0xffffffff;

export function plant(block) {
  const n = block.rows;
  const forest = {
    n, version: block.version ?? 0, title: block.title, counts: block.counts, hidden: block.hidden, counted: block.counted, id: block.id ?? null, rooted: block.root, epoch: block.epoch,
    statuses: block.statuses, units: block.units, niche: block.niche,
    generation: block.generation, flags: block.flags, more: block.more, name: block.name,
    origin: block.origin, origins: block["origin.words"], power: block.power, unit: block.unit,
    training: block.training, time: block.time, share: block.share, shares: block["share.words"],
    parent: new Int32Array(n), size: new Int32Array(n).fill(1), depth: new Int32Array(n),
  };
  if (block.window) for (const key of ["window", "pos", "count", "clade", "low", "high", "alive", "against", "culled", "direct"]) forest[key] = block[key];
  const { parent, size, depth } = forest;
  for (let i = 0; i < n; i += 1) {
    parent[i] = block.up[i] ? i - block.up[i] : -1;
    if (parent[i] >= 0) depth[i] = depth[parent[i]] + 1;
  }
  for (let i = n - 1; i >= 0; i -= 1) if (parent[i] >= 0) size[parent[i]] += size[i];
  forest.niches = niches(forest, block);
  forest.further = furtherLinks(block);
  forest.axes = axes(forest, block);
  return forest;
}

function niches(forest, block) {
  let at = 0;
  return block.niches.map((one, k) => {
    const count = block.scores[k], rows = new Uint32Array(count);
    for (let j = 0, row = 0; j < count; j += 1) rows[j] = row += block["score.row"][at + j];
    const niche = {
      ...one, rows, first: at, sign: one.direction === "lower" ? -1 : 1,
      values: block["score.value"].subarray(at, at + count),
      front: block["score.front"].subarray(at, at + count),
    };
    at += count;
    return niche;
  });
}

/** By row where in the arrays of niche k its score is, -1 for none; and the living, best first. */
export function scored(forest, k) {
  const niche = forest.niches[k];
  if (niche.where) return niche;
  niche.where = new Int32Array(forest.n).fill(-1);
  niche.rows.forEach((row, j) => { niche.where[row] = j; });
  const living = [];
  niche.rows.forEach((row, j) => { if ((forest.flags[row] & 3) === ALIVE) living.push(j); });
  living.sort((a, b) => niche.sign * (niche.values[b] - niche.values[a]));
  niche.ranked = living.map((j) => niche.rows[j]);
  niche.sorted = living.map((j) => niche.values[j]);
  // A few that diverged must not take the colours of all others: the worst twentieth share one.
  niche.best ??= niche.sorted[0];
  niche.worst ??= niche.sorted[Math.max(0, Math.ceil(living.length * (living.length > 40 ? 0.95 : 1)) - 1)];
  return niche;
}

export function valueOf(forest, k, i) {
  const niche = scored(forest, k), j = niche.where[i];
  return j < 0 ? null : niche.values[j];
}

/** The score that row i shows in niche k: its own, or the best of the many it stands for. */
export function shownValue(forest, k, i) {
  if (!(forest.count?.[i] > 1)) return valueOf(forest, k, i);
  const best = forest.best?.k === k ? forest.best.values[i] : NaN;
  return Number.isNaN(best) ? null : best;
}

export const onFront = (forest, k, i) => {
  const niche = scored(forest, k), j = niche.where[i];
  return j >= 0 && niche.front[j] === 1;
};

/** From 0, the worst of the living, to 1, the best; null where nobody knows which is better. */
export function goodness(forest, k, value) {
  const { best, worst, direction } = scored(forest, k);
  if (!direction || best === undefined || value === null) return null;
  return best === worst ? 1 : Math.min(1, Math.max(0, (value - worst) / (best - worst)));
}

/** The place among the living, from 1; equals share it. */
export function rank(forest, k, value) {
  const { sorted, sign } = scored(forest, k);
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sign * (sorted[middle] - value) > 0) low = middle + 1; else high = middle;
  }
  return low + 1;
}

function furtherLinks(block) {
  const child = block["further.child"], parent = block["further.parent"];
  const above = new Map(), below = new Map();
  const note = (map, key, number) => { const known = map.get(key); if (known) known.push(number); else map.set(key, [number]); };
  child.forEach((one, number) => { note(above, one, number); note(below, parent[number], number); });
  return {
    child, parent, above, below, weight: block["further.weight"],
    relation: (number) => block["further.relation.words"][block["further.relation"][number]],
    share: (number) => block["further.share.words"][block["further.share"][number]],
  };
}

// ---- where organisms lie from left to right ------------------------------------------------------

function axes(forest, block) {
  const { n, parent, origin, origins } = forest;
  const along = (known, step) => {
    const at = new Float64Array(n), sure = new Uint8Array(n);
    let any = false;
    for (let i = 0; i < n; i += 1) {
      const above = parent[i] >= 0 ? at[parent[i]] : 0;
      sure[i] = known(i) ? 1 : 0;
      at[i] = sure[i] ? step(i, above) : above;
      any ||= sure[i] === 1;
    }
    return { at, sure, any };
  };
  const goesOn = origins.indexOf("continue"), base = new Float64Array(n);
  const found = {
    generation: { ...along(() => true, (i) => block.generation[i]), label: "Generation" },
    time: { ...along((i) => block.time[i] !== UNKNOWN, (i) => block.time[i]), label: "Time" },
    step: {
      ...along((i) => block.step[i] !== UNKNOWN, (i, above) => {
        const parentBase = parent[i] >= 0 ? base[parent[i]] : 0;
        base[i] = goesOn > 0 && origin[i] === goesOn ? parentBase : above;
        return base[i] + block.step[i];
      }),
      label: "Step",
    },
    joules: { ...along((i) => !Number.isNaN(block.training[i]), (i, above) => above + block.training[i]), label: "Joules" },
  };
  if (forest.window) return { generation: found.generation };  // stripes know no other
  for (const [key, axis] of Object.entries(found)) {
    let most = -Infinity, least = Infinity;
    for (let i = 0; i < n; i += 1) { if (axis.at[i] > most) most = axis.at[i]; if (axis.at[i] < least) least = axis.at[i]; }
    if (key !== "generation" && (!axis.any || most === least)) delete found[key];
  }
  return found;
}

// ---- relatives ---------------------------------------------------------------------------------

export const status = (forest, i) => forest.flags[i] & 3;
export const is = (forest, i, flag) => (forest.flags[i] & flag) !== 0;
export const originOf = (forest, i) => forest.origins[forest.origin[i]];

/** The parents of i: [row, relation, share], the main one first. */
export function parents(forest, i) {
  const { parent, further, share, shares } = forest, found = [];
  if (parent[i] >= 0 && forest.direct?.[i] !== 0) found.push([parent[i], originOf(forest, i), shares[share[i]]]);
  for (const number of further.above.get(i) ?? [])
    found.push([further.parent[number], further.relation(number), further.share(number)]);
  return found;
}

/** How many organisms the clade of i has, itself included, through main parents. */
export const cladeOf = (forest, i) => (forest.clade ? forest.clade[i] : forest.size[i]);

/** The children of i: [row, relation, share], in the order of the picture. */
export function children(forest, i) {
  const { size, further, share, shares, flags } = forest, found = [];
  for (let j = i + 1; j < i + size[i]; j += size[j])
    if (!(flags[j] & BUNDLE) && forest.direct?.[j] !== 0) found.push([j, originOf(forest, j), shares[share[j]]]);
  for (const number of further.below.get(i) ?? [])
    found.push([further.child[number], further.relation(number), further.share(number)]);
  return found.sort((a, b) => a[0] - b[0]);
}

/** i and all that it descends from, through any parent: a byte a row. */
export function pedigree(forest, i) {
  const found = new Uint8Array(forest.n), stack = [i];
  while (stack.length) {
    const one = stack.pop();
    if (found[one]) continue;
    found[one] = 1;
    if (forest.parent[one] >= 0) stack.push(forest.parent[one]);
    for (const number of forest.further.above.get(one) ?? []) stack.push(forest.further.parent[number]);
  }
  return found;
}

/** i and all that descend from it, through any parent. */
export function clade(forest, i) {
  const found = new Uint8Array(forest.n), stack = [i];
  while (stack.length) {
    const top = stack.pop();
    for (let j = top; j < top + forest.size[top]; j += 1) {
      if (found[j]) continue;
      found[j] = 1;
      for (const number of forest.further.below.get(j) ?? []) stack.push(forest.further.child[number]);
    }
  }
  return found;
}

/** The most recent common ancestors: common ones that are no ancestors of another common one. */
export function mrca(forest, a, b) {
  const one = pedigree(forest, a), other = pedigree(forest, b);
  const common = [];
  for (let i = 0; i < forest.n; i += 1) if (one[i] && other[i]) common.push(i);
  const above = new Uint8Array(forest.n);
  for (const i of common) {
    if (forest.parent[i] >= 0) above[forest.parent[i]] = 1;
    for (const number of forest.further.above.get(i) ?? []) above[forest.further.parent[number]] = 1;
  }
  return common.filter((i) => !above[i]);
}

/** The shortest way down from an ancestor to i, both within; through any parent. */
export function wayDown(forest, ancestor, i) {
  const from = new Map([[i, -1]]), queue = [i];
  for (const one of queue) {
    if (one === ancestor) break;
    for (const [parent] of parents(forest, one)) if (!from.has(parent)) { from.set(parent, one); queue.push(parent); }
  }
  const way = [];
  for (let at = from.has(ancestor) ? ancestor : -1; at >= 0; at = from.get(at)) way.push(at);
  return way;
}
