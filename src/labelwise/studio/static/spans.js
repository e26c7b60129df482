// Pure functions on marks and words. Offsets are code points, ends exclusive.

/** Grow a span to whole words; `words` is sorted. Null if it touches none. */
export function snap(words, start, end) {
  let first = -1;
  let last = -1;
  for (let i = 0; i < words.length; i += 1) {
    const touches = words[i][1] > start && words[i][0] < end;
    if (touches && first < 0) first = i;
    if (touches) last = i;
  }
  return first < 0 ? null : { start: words[first][0], end: words[last][1] };
}

/** Cut white space off both ends of a span. Null if nothing is left. */
export function trim(points, start, end) {
  while (start < end && /\s/u.test(points[start])) start += 1;
  while (end > start && /\s/u.test(points[end - 1])) end -= 1;
  return start < end ? { start, end } : null;
}

export function overlaps(one, other) {
  return one.start < other.end && other.start < one.end;
}

export function same(one, other) {
  return one.start === other.start && one.end === other.end && one.label === other.label;
}

/** The marks with another added; those that it overlaps go. */
export function withMark(marks, mark) {
  const kept = marks.filter((m) => !overlaps(m, mark));
  return [...kept, mark].sort((a, b) => a.start - b.start);
}

/** The marks without those that a span touches. */
export function withoutMarks(marks, span) {
  return marks.filter((m) => !overlaps(m, span));
}

/** Both people's marks; where two overlap, those of the first. */
export function merged(mine, theirs) {
  return theirs.reduce((all, m) => (all.some((o) => overlaps(o, m)) ? all : [...all, m]), mine)
    .sort((a, b) => a.start - b.start);
}

/** What the page shows of suggestions: those that reach their label's threshold. */
export function above(suggestions, thresholds) {
  return suggestions.filter((s) => s.score >= (thresholds.get(s.label) ?? 0));
}

/** Cut a text at every border: pieces with the mark that covers each, if any. */
export function pieces(length, marks, selection) {
  const borders = new Set([0, length]);
  for (const m of marks) borders.add(m.start).add(m.end);
  if (selection) borders.add(selection.start).add(selection.end);
  const sorted = [...borders].filter((b) => b >= 0 && b <= length).sort((a, b) => a - b);
  const result = [];
  let next = 0;
  for (let i = 0; i + 1 < sorted.length; i += 1) {
    const [start, end] = [sorted[i], sorted[i + 1]];
    while (next < marks.length && marks[next].end <= start) next += 1;
    const mark = next < marks.length && marks[next].start <= start ? marks[next] : null;
    const selected = Boolean(selection) && selection.start <= start && end <= selection.end;
    result.push({ start, end, mark, selected });
  }
  return result;
}
