/** Protections of the service that a run may switch off: then a seed must fail. */

/**
 * Protections that can be switched off: the expected sequence of a publish · that of a batch · reading the stream back · checkpoints only of
 * published mail · positions in one transaction with their mail · the comparison of epochs by a user's database ·
 * compare-and-set of checkpoints.
 */
export const MUTANTS = ['expect', 'batch', 'readback', 'early', 'cursor', 'compare', 'cas'] as const
export type Mutant = (typeof MUTANTS)[number]
export const isMutant = (name: string): name is Mutant => MUTANTS.some((each) => each === name)
