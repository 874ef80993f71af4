// One figure of the benchmark, and whether it meets what issue 6 asks for. A figure without a bound is shown only.

export type Figure = {
  /** The number of the target, 1 to 10. */
  target: number
  name: string
  value: number
  unit: string
  /** The target is met when min <= value <= max. */
  min?: number
  max?: number
  /** What the issue would like to see beyond that, at most; it is told and not judged. */
  stretch?: number
  note?: string
  /** What the value is the median of, one for each round, pair or window; from where to where they reach is told beside it. */
  rounds?: number[]
  /** All that were measured, when some of them were disturbed and do not count (ADR 0054); what the value were with them is told beside it. */
  measured?: number[]
  /** What was measured one by one, for the histogram; the JSON file has quantiles of it. */
  samples?: number[]
  /** Where it stands in a picture: mails of the mailbox, or users; and on which line. */
  at?: number
  series?: string
}

export type Verdict = 'met' | 'missed' | 'shown'

/** A value that is no number (a median of nothing) never meets a target. */
export function verdictOf(figure: Figure): Verdict {
  const { value, min, max } = figure
  if (min === undefined && max === undefined) return 'shown'
  const met = value >= (min ?? Number.NEGATIVE_INFINITY) && value <= (max ?? Number.POSITIVE_INFINITY)
  return met ? 'met' : 'missed'
}
