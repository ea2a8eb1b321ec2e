#!/bin/bash
#SBATCH --job-name=pea
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=02:00:00

SHARDS=16  # as many as in --array

pea segment images/ --recursive --model bbbc039 --output results/ --offline --resume \
    --threads "$SLURM_CPUS_PER_TASK" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS"
