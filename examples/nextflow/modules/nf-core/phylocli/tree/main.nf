process PHYLOCLI_TREE {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/phylocli:0.1.0--pyhdfd78af_0':
        'quay.io/biocontainers/phylocli:0.1.0--pyhdfd78af_0' }"

    input:
    tuple val(meta), path(families)

    output:
    tuple val(meta), path("${prefix}.sto.gz"), emit: trees
    tuple val(meta), path("${prefix}.sto.gz.provenance.json"), emit: provenance
    tuple val("${task.process}"), val('phylocli'), eval("phylocli --version | sed 's/phylocli //'"), topic: versions, emit: versions_phylocli

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if ("${families}" == "${prefix}.sto.gz") {
        error "Input and output of PHYLOCLI_TREE have the same name; set task.ext.prefix"
    }
    """
    phylocli \\
        tree \\
        $args \\
        --jobs $task.cpus \\
        --output ${prefix}.sto.gz \\
        $families
    """

    stub:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    echo $args
    echo "" | gzip > ${prefix}.sto.gz
    touch ${prefix}.sto.gz.provenance.json
    """
}
