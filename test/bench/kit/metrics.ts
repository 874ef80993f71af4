/** What an instance tells of itself at /metrics. Pure. */

/**
 * The value of a metric by its name with labels. @throws Error when there is none, because what was not counted meets every
 * target; `absent` stands for a series that begins with its first value, such as the accounts in a state.
 */
export type ReadMetric = (name: string, absent?: number) => number

/** @param text in the format of Prometheus */
export function metricsOf(text: string): ReadMetric {
  const samples = new Map(
    [...text.matchAll(/^(mailsync_\S+) (\S+)$/gm)].map(([, name = '', value]) => [name, Number(value)]),
  )
  return (name, absent) => {
    const value = samples.get(name) ?? absent
    if (value === undefined) throw new Error(`the instance has no metric ${name}`)
    return value
  }
}
