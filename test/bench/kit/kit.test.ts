/** What the benchmark makes of its numbers. Nothing here is timed but the time of the processor, which only has to grow. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { until } from '../../support/until.ts'
import { histogram, lineChart, niceAbove } from './chart.ts'
import { type Figure, verdictOf } from './figure.ts'
import { diskAt } from './machine.ts'
import { metricsOf } from './metrics.ts'
import { picturesOf } from './pictures.ts'
import { boundOf, jsonOf, lineOf, markdownOf, summaryOf, withTables } from './report.ts'
import { again, besideTenth, interleave } from './rounds.ts'
import { median, oddAgainstEven, percentile, pieces, quotients } from './statistics.ts'
import { processorTime, stolenShare } from './stolen.ts'
import { orStopped } from './stop.ts'
import { cpuMs, cpuMsOf, forgetPeak, peakBytes, refuseOtherSystems, usageOf } from './usage.ts'

const NEVER = new AbortController().signal

test('the median is the value in the middle, or the mean of the two in the middle', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 3, 2]), 2.5)
  assert.ok(Number.isNaN(median([])))
})

test('a percentile is the smallest value that is not below that part of all', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  assert.deepEqual(
    [0.5, 0.99, 1].map((part) => percentile(hundred, part)),
    [50, 99, 100],
  )
  assert.ok(Number.isNaN(percentile([], 0.5)))
})

test('numbers are divided round by round, and never those of one round by those of another', () => {
  // The machine was half as fast in the second round: the ratio is the same.
  assert.deepEqual(quotients([80, 40, 81], [100, 50, 100]), [0.8, 0.8, 0.81])
  assert.throws(() => quotients([1, 2], [1]), /2 rounds against 1/)
})

test('the same cell twice gives a ratio of one, whatever the machine does from round to round', () => {
  const drifting = [100, 90, 40, 120, 60, 75, 130]
  assert.equal(median(quotients(drifting, drifting)), 1)
})

test('windows are pieces of the same length, and every other one is compared with those between them', () => {
  assert.deepEqual(pieces([1, 2, 3, 4, 5, 6, 7], 3), [
    [1, 2],
    [3, 4],
    [5, 6, 7],
  ])
  assert.equal(oddAgainstEven([3, 2, 3, 2, 3]), 1.5)
  assert.ok(Number.isNaN(oddAgainstEven([3])))
})

test('cells are interleaved, and every other round goes the other way round', async () => {
  const order: string[] = []
  const cell = (name: string) => ({
    name,
    run: async (round: number) => {
      order.push(`${name}${round}`)
      return round
    },
  })
  const found = await interleave([cell('a'), cell('b'), cell('c')], 3, NEVER)
  assert.deepEqual(order, ['a0', 'b0', 'c0', 'c1', 'b1', 'a1', 'a2', 'b2', 'c2'])
  assert.deepEqual(found.get('b'), [0, 1, 2])
})

test('an aborted run measures nothing more', async () => {
  const stop = new AbortController()
  const cell = { name: 'a', run: async () => stop.abort(new Error('stopped')) }
  await assert.rejects(interleave([cell], 5, stop.signal), /stopped/)
})

test('a large run is divided by those of a tenth directly before and after it, and by no other', () => {
  const runs = [10, 100, 30, 7, 50, 5].map((value, i) => ({ value, size: i % 2 === 1 && i < 5 ? 1 : 0 }))
  assert.deepEqual(
    besideTenth(runs, 1, ({ value }) => value),
    [100 / 20, 7 / 40],
  )
  assert.throws(() => besideTenth([{ size: 1 }], 1, () => 1), /no run of a tenth/)
  assert.deepEqual(
    again(runs, ({ size }) => size === 0).map(([first, next]) => [first.value, next.value]),
    [
      [10, 30],
      [30, 50],
      [50, 5],
    ],
  )
})

test('a target is met within its bounds, ends included; a value that is no number never meets one', () => {
  const figure = (value: number, bounds: Pick<Figure, 'min' | 'max'>): Figure => ({
    ...{ target: 1, name: 'rate', value, unit: 'times' },
    ...bounds,
  })
  assert.equal(verdictOf(figure(0.8, { min: 0.8 })), 'met')
  assert.equal(verdictOf(figure(0.79, { min: 0.8 })), 'missed')
  assert.equal(verdictOf(figure(1.26, { max: 1.25 })), 'missed')
  assert.equal(verdictOf(figure(Number.NaN, { max: 1.25 })), 'missed')
  assert.equal(verdictOf(figure(7, {})), 'shown')
  assert.equal(boundOf(figure(1, { min: 0.8, max: 1.25 })), '≥ 0.80 and ≤ 1.25')
  assert.equal(boundOf({ ...figure(7, { max: 10 }), stretch: 6 }), '≤ 10.0 (stretch ≤ 6.00)')
})

const FIGURES: Figure[] = [
  { target: 1, name: 'rate', value: 0.853, unit: 'times', min: 0.8, rounds: [0.8412, 0.853, 0.8634999] },
  { target: 5, name: 'Gmail, 5,000 mails', value: 9_800, unit: 'mails/s', at: 5_000, series: 'Gmail' },
  { target: 5, name: 'Gmail, 50,000 mails', value: 9_100, unit: 'mails/s', at: 50_000, series: 'Gmail' },
  { target: 5, name: 'time | of a tenth', value: 13, unit: 'times', max: 12 },
  {
    target: 3,
    name: 'stored <→> answered, p99',
    series: 'stored <→> answered',
    value: 0.6,
    unit: 'ms',
    max: 1,
    samples: [0.5, 0.6, 0.6, 2],
  },
]
const PARTS = [
  { name: 'growth', seconds: 61.23456, stolen: 0.0312, failed: false },
  { name: 'idle', seconds: 28.77, stolen: 0, failed: true },
]
const MACHINE = {
  commit: 'abc1234',
  node: '24',
  server: '2.15',
  cpu: 'EPYC',
  cores: 2,
  memoryGb: 8,
  system: 'Linux 6',
  disk: { kind: 'ext4', freeGb: 9 },
}

test('a report says verdict, value and bound of each figure, and how many targets are met', () => {
  assert.match(lineOf(FIGURES[0] as Figure), /^met +1 {2}rate +0\.85 times +≥ 0\.80 +0\.84 to 0\.86 in 3$/)
  assert.match(lineOf(FIGURES[3] as Figure), /^missed +5 .* 13\.0 times +≤ 12\.0$/)
  const disturbed = { ...FIGURES[0], note: '7 mails', measured: [0.5, 0.6, 0.8412, 0.853, 0.8635] } as Figure
  assert.match(lineOf(disturbed), / 0\.84 to 0\.86 in 3; 7 mails; 2 of 5 disturbed, 0\.84 with them$/)
  assert.equal(summaryOf(FIGURES), 'targets measured: 3, met: 2, missed: 5')
  const text = markdownOf({ machine: MACHINE, quick: true, parts: PARTS, figures: FIGURES })
  assert.match(text, /Commit abc1234, short form in 1\.50 minutes; .* nats-server 2\.15.* ext4\. /)
  assert.match(text, /^Parts: growth 61 s, 3\.12 % stolen; idle 29 s, 0\.00 % stolen \(\*\*failed\*\*\)\.$/m)
  assert.match(text, /^\| time \\\| of a tenth \| 13\.0 times \| ≤ 12\.0 \| \*\*missed\*\* \| {2}\|$/m)
})

test('what the host of a virtual machine takes is told of the time in which there was something to do', () => {
  const at = (user: number, idle: number, stolen: number) =>
    processorTime(`cpu  ${user} 10 20 ${idle} 5 0 3 ${stolen} 0 0\ncpu0 1 1 1 1 1 0 1 1 0 0\n`)
  assert.deepEqual(at(100, 900, 7), { ran: 133, stolen: 7 })
  assert.equal(stolenShare(at(100, 900, 0), at(190, 5_000, 10)), 0.1)
  assert.equal(stolenShare(at(1, 1, 1), at(1, 9, 1)), 0, 'nothing was done')
  assert.ok(processorTime().ran > 0)
})

test('a value beside its bound has as many decimals as show on which side it lies', () => {
  const [rate, time] = FIGURES as [Figure, Figure]
  assert.match(lineOf({ ...rate, value: 0.796 }), /^missed .* 0\.796 times +≥ 0\.80 /)
  assert.match(lineOf({ ...rate, value: 0.8 }), /^met .* 0\.80 times /)
  assert.match(lineOf({ ...time, value: 1_050.3, max: 1_050 }), /^missed .* 1,050\.3 /)
})

test('the JSON file has a line for each figure, four digits of each number, and quantiles in place of samples', () => {
  const text = jsonOf({ machine: MACHINE, quick: false, parts: PARTS, figures: FIGURES })
  const { parts, figures } = JSON.parse(text)
  assert.equal(parts[0].seconds, 61.23)
  assert.deepEqual(figures[0].rounds, [0.8412, 0.853, 0.8635])
  assert.deepEqual(figures[4].quantiles, { min: 0.5, p25: 0.5, p50: 0.6, p75: 0.6, p90: 2, p99: 2, max: 2 })
  assert.ok(!('samples' in figures[4]))
  assert.equal(text.match(/^ {4}\{.*\},?$/gm)?.length, FIGURES.length)
})

test('tables replace those of the run before and nothing else', () => {
  const before = 'text\n<!-- bench: begin -->\n\nold\n\n<!-- bench: end -->\nmore\n'
  const after = withTables(before, 'new')
  assert.equal(after, before.replace('old', 'new'))
  assert.equal(withTables(after, 'new'), after)
  assert.throws(() => withTables('text', 'new'), /lacks/)
})

/** Every element is closed in order, and no text holds a bare bracket: more is not needed to be well-formed here. */
function assertWellFormed(svg: string): void {
  const open: string[] = []
  for (const [, close, name = '', rest = ''] of svg.matchAll(/<(\/?)([a-zA-Z]+)((?:\s+[\w:-]+="[^"<]*")*\s*\/?)>/g)) {
    if (close === '/') assert.equal(open.pop(), name, svg)
    else if (!rest.endsWith('/')) open.push(name)
  }
  assert.deepEqual(open, [])
  const texts = svg.replace(/<(\/?)([a-zA-Z]+)((?:\s+[\w:-]+="[^"<]*")*\s*\/?)>/g, '')
  assert.doesNotMatch(texts, /<|&(?!amp;|lt;|gt;|quot;)/)
  assert.doesNotMatch(svg, /NaN|Infinity|undefined/)
}

test('what waits is waited for until the run is stopped', async () => {
  const stop = new AbortController()
  assert.equal(await orStopped(Promise.resolve(7), stop.signal), 7)
  const waiting = orStopped(new Promise(() => undefined), stop.signal)
  stop.abort(new Error('stopped'))
  await assert.rejects(waiting, /stopped/)
  await assert.rejects(orStopped(Promise.reject(new Error('too late')), stop.signal), /stopped/)
})

test('a metric that the instance lacks is an error and no zero, which would meet a target', () => {
  const metric = metricsOf('# HELP\nmailsync_opens_total 3\nmailsync_accounts{state="live"} 2\n')
  assert.equal(metric('mailsync_opens_total'), 3)
  assert.equal(metric('mailsync_accounts{state="live"}', 0), 2)
  assert.throws(() => metric('mailsync_commits_total'), /no metric mailsync_commits_total/)
  assert.equal(metric('mailsync_accounts{state="error"}', 0), 0)
})

test('pictures are drawn of what was measured, well-formed, for light and dark pages', () => {
  const pictures = picturesOf(FIGURES)
  assert.deepEqual(
    pictures.map(({ file }) => file),
    ['bench-throughput.svg', 'bench-latency.svg'],
  )
  for (const { svg } of pictures) {
    assertWellFormed(svg)
    assert.match(svg, /prefers-color-scheme: dark/)
  }
  assert.equal(pictures[0]?.svg.match(/<circle /g)?.length, 2)
  assert.match(pictures[1]?.svg ?? '', />stored &lt;→&gt; answered</)
  assert.deepEqual(picturesOf([]), [])
})

/** Where the names of a legend begin, and on which line they stand. */
const placesOf = (svg: string): { x: number; y: number; name: string }[] =>
  [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)" >([^<]+)</g)].map(([, x, y, name = '']) => ({
    ...{ x: Number(x), y: Number(y), name },
  }))

test('the names of a legend stand beside each other where there is room, and below where there is none', () => {
  const names = ['service', 'a name that is much longer than any other', 'provider and benchmark', 'nats-server']
  const points = [1, 2].map((x) => ({ x, y: x }))
  const axis = { label: 'users' }
  const svg = lineChart({ title: 't', x: axis, y: axis, series: names.map((name) => ({ name, points })) })
  const places = placesOf(svg)
  assert.deepEqual(
    places.map(({ name }) => name),
    names,
  )
  for (const [i, { x, y, name }] of places.entries()) {
    const end = x + name.length * 7
    assert.ok(end <= 700, name)
    for (const other of places.slice(i + 1)) assert.ok(other.y > y || other.x > end, `${name} and ${other.name}`)
  }
  assert.ok(Number(/viewBox="0 0 720 (\d+)"/.exec(svg)?.[1]) > Math.max(...places.map(({ y }) => y)))
})

test('a single point bears its name, within the picture', () => {
  const axis = { label: 'users' }
  const one = (name: string, x: number) => ({ name, points: [{ x, y: 1 }] })
  const svg = lineChart({ title: 't', x: axis, y: axis, series: [one('low', 1), one('high', 9)] })
  assert.match(svg, /text-anchor="start">low</)
  assert.match(svg, /text-anchor="end">high</)
})

test('a chart of a single point, and of values that are all zero, is well-formed', () => {
  const axis = { label: 'users' }
  assertWellFormed(lineChart({ title: 'one', x: axis, y: axis, series: [{ name: 'a', points: [{ x: 10, y: 0 }] }] }))
  assertWellFormed(histogram({ title: 'zero', label: 'ms', series: [{ name: 'a', values: [0, 0] }] }))
  assert.deepEqual([0.7, 1, 13, 999, 0].map(niceAbove), [1, 1, 20, 1_000, 1])
})

test('the time of the processor is read behind a name with brackets', () => {
  const rest = Array.from({ length: 50 }, (_, i) => String(i + 4)).join(' ')
  assert.equal(cpuMsOf(`7 (a) b) S ${rest}`), (14 + 15) * 10)
})

test('the time of all threads of a process is counted, and grows with its work', async () => {
  const used = usageOf({ own: process.pid })
  const busy = new Worker('for (;;);', { eval: true })
  await until('a thread has worked for 50 ms', () => used().cpuMs.own >= 50)
  await busy.terminate()
  assert.throws(() => cpuMs(2 ** 30), /ENOENT/)
})

test('the peak of memory is counted anew after it was forgotten', async () => {
  const large = new Worker('new Uint8Array(96 * 2 ** 20).fill(1)', { eval: true })
  await once(large, 'exit')
  const before = peakBytes(process.pid)
  forgetPeak(process.pid)
  assert.ok(peakBytes(process.pid) < before - 48 * 2 ** 20, `${peakBytes(process.pid)} after ${before}`)
})

test('a folder that is memory is refused, and the message says what to do', () => {
  const disk = { bavail: 3 * 2 ** 18, bsize: 4_096 }
  assert.deepEqual(diskAt('/x', { ...disk, type: 0xef53 }), { kind: 'ext4', freeGb: 3 })
  assert.equal(diskAt('/x', { ...disk, type: 0x1234 }).kind, 'file system 0x1234')
  assert.throws(() => diskAt('/x', { ...disk, type: 0x01021994 }), /\/x is memory \(tmpfs\): set TMPDIR/)
})

test('other systems than Linux are refused', () => {
  refuseOtherSystems('linux')
  assert.throws(() => refuseOtherSystems('darwin'), /needs Linux/)
})
