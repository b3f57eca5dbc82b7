// A study in parts, one process each, then its report:
//   nextflow run examples/nextflow/main.nf --study studies/demo.yaml --store /scratch/me/demo --parts 8
// All processes see the store. A part waits for what it needs of the others: let all of them run at once.
params.study = null
params.store = null
params.parts = 3

process part {
    errorStrategy 'retry'
    maxRetries 3

    input:
    val number

    output:
    val number

    script:
    """
    advassay run '${file(params.study)}' --store '${file(params.store)}' --part ${number}/${params.parts} \\
        --threads ${task.cpus} --quiet
    """
}

process report {
    input:
    val done

    script:
    """
    advassay report '${file(params.store)}'
    """
}

workflow {
    report(part(Channel.of(1..params.parts)).collect())
}
