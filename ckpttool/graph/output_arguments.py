"""Ops with several output arguments, by which functions number outputs: argument, and position in it.

The second output of a `TopKV2` is `top:indices:0` in a function, and `top:1` in a graph. Taken from the registry of
TensorFlow 2.21 (`tensorflow/core/ops/*.cc`); a saved graph contains the definitions of its ops.
"""

from collections.abc import Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, OpDef

Arguments = tuple[tuple[str, str], ...]
"""The output arguments of an op, each with the attribute that specifies its number of tensors, or an empty string."""


def arguments_in(definitions: Iterable[OpDef]) -> dict[str, Arguments]:
    """Return the output arguments of ops by type, from the ops' definitions."""
    return {
        each.name: tuple(
            (argument.name, argument.number_attr or argument.type_list_attr) for argument in each.output_arg
        )
        for each in definitions
    }


def tensors_of(node: NodeDef, attribute: str) -> int:
    """Return the number of tensors in an op's argument, from its attribute: a number, or a list of types."""
    if not attribute:
        return 1
    if attribute not in node.attr:
        return 0
    return max(node.attr[attribute].i, len(node.attr[attribute].list.type))


def _parsed(text: str) -> Mapping[str, Arguments]:
    """Parse lines of `Type Type: argument argument*attribute`; an indented line continues the previous one."""
    arguments: dict[str, Arguments] = {}
    for line in text.replace("\n        ", " ").splitlines():
        types, _, outputs = line.partition(":")
        pairs = [output.partition("*") for output in outputs.split()]
        arguments |= dict.fromkeys(types.split(), tuple((name, attribute) for name, _, attribute in pairs))
    return arguments


SEVERAL = _parsed(
    """
    AllCandidateSampler FixedUnigramCandidateSampler LearnedUnigramCandidateSampler LogUniformCandidateSampler
        ThreadUnsafeUnigramCandidateSampler UniformCandidateSampler: sampled_candidates true_expected_count
        sampled_expected_count
    ApproxTopK TopK TopKV2: values indices
    BarrierTakeMany: indices keys values*component_types
    Batch: batched_tensors*T batch_index id
    BatchNormWithGlobalNormalizationGrad: dx dm dv db dg
    BatchSelfAdjointEigV2 Eig SelfAdjointEigV2: e v
    BatchSvd Svd: s u v
    BlockLSTM BlockLSTMV2 LSTMBlockCell: i cs f o ci co h
    BlockLSTMGrad BlockLSTMGradV2: x_grad cs_prev_grad h_prev_grad w_grad wci_grad wcf_grad wco_grad b_grad
    BroadcastGradientArgs: r0 r1
    CSRSparseMatrixComponents: row_ptrs col_inds values
    CSRSparseMatrixToSparseTensor: indices values dense_shape
    CTCBeamSearchDecoder: decoded_indices*top_paths decoded_values*top_paths decoded_shape*top_paths log_probability
    CTCGreedyDecoder: decoded_indices decoded_values decoded_shape log_probability
    CTCLoss CTCLossV2: loss gradient
    CombinedNonMaxSuppression: nmsed_boxes nmsed_scores nmsed_classes valid_detections
    ComputeAccidentalHits: indices ids weights
    CudnnRNN: output output_h output_c reserve_space
    CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3: input_backprop input_h_backprop input_c_backprop
        params_backprop
    CudnnRNNParamsToCanonical: weights*num_params biases*num_params
    CudnnRNNParamsToCanonicalV2: weights*num_params_weights biases*num_params_biases
    CudnnRNNV2 CudnnRNNV3: output output_h output_c reserve_space host_reserved
    DecodeProtoV2: sizes values*output_types
    DecodeWav: audio sample_rate
    DenseCountSparseOutput RaggedCountSparseOutput SparseCountSparseOutput: output_indices output_values
        output_dense_shape
    DenseToDenseSetOperation DenseToSparseSetOperation SparseToSparseSetOperation: result_indices result_values
        result_shape
    DeserializeManySparse DeserializeSparse TakeManySparseFromTensorsMap: sparse_indices sparse_values sparse_shape
    FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannelGradient: backprops_wrt_input backprop_wrt_min
        backprop_wrt_max
    FractionalAvgPool FractionalMaxPool: output row_pooling_sequence col_pooling_sequence
    FusedBatchNorm FusedBatchNormV2: y batch_mean batch_variance reserve_space_1 reserve_space_2
    FusedBatchNormGrad FusedBatchNormGradV2: x_backprop scale_backprop offset_backprop reserve_space_3
        reserve_space_4
    FusedBatchNormGradV3: x_backprop scale_backprop offset_backprop reserve_space_4 reserve_space_5
    FusedBatchNormV3: y batch_mean batch_variance reserve_space_1 reserve_space_2 reserve_space_3
    GRUBlockCell: r u c h
    GRUBlockCellGrad: d_x d_h_prev d_c_bar d_r_bar_u_bar
    GenerateBoundingBoxProposals: rois roi_probabilities
    GenerateVocabRemapping: remapping num_present
    IsotonicRegression: output segments
    LSTMBlockCellGrad: cs_prev_grad dicfo wci_grad wcf_grad wco_grad
    ListDiff: out idx
    LogMatrixDeterminant: sign log_abs_determinant
    LookupTableExport LookupTableExportV2 ReaderReadUpTo ReaderReadUpToV2: keys values
    Lu: lu p
    MapUnstageNoKey OrderedMapUnstageNoKey: key values*dtypes
    MaxPoolWithArgmax: output argmax
    Merge RefMerge: output value_index
    NearestNeighbors: nearest_center_indices nearest_center_distances
    NonMaxSuppressionV4: selected_indices valid_outputs
    NonMaxSuppressionV5: selected_indices selected_scores valid_outputs
    ParseExample: sparse_indices*Nsparse sparse_values*sparse_types sparse_shapes*Nsparse dense_values*Tdense
    ParseExampleV2: sparse_indices*num_sparse sparse_values*sparse_types sparse_shapes*num_sparse
        dense_values*Tdense ragged_values*ragged_value_types ragged_row_splits*ragged_split_types
    ParseSequenceExample: context_sparse_indices*Ncontext_sparse context_sparse_values*context_sparse_types
        context_sparse_shapes*Ncontext_sparse context_dense_values*Tcontext_dense
        feature_list_sparse_indices*Nfeature_list_sparse feature_list_sparse_values*feature_list_sparse_types
        feature_list_sparse_shapes*Nfeature_list_sparse feature_list_dense_values*feature_list_dense_types
        feature_list_dense_lengths*Nfeature_list_dense
    ParseSequenceExampleV2: context_sparse_indices*Ncontext_sparse context_sparse_values*context_sparse_types
        context_sparse_shapes*Ncontext_sparse context_dense_values*Tcontext_dense
        context_ragged_values*context_ragged_value_types context_ragged_row_splits*context_ragged_split_types
        feature_list_sparse_indices*Nfeature_list_sparse feature_list_sparse_values*feature_list_sparse_types
        feature_list_sparse_shapes*Nfeature_list_sparse feature_list_dense_values*feature_list_dense_types
        feature_list_dense_lengths*Nfeature_list_dense feature_list_ragged_values*feature_list_ragged_value_types
        feature_list_ragged_outer_splits*feature_list_ragged_split_types
        feature_list_ragged_inner_splits*feature_list_ragged_split_types
    ParseSingleExample: sparse_indices*num_sparse sparse_values*sparse_types sparse_shapes*num_sparse
        dense_values*Tdense
    ParseSingleSequenceExample: context_sparse_indices*Ncontext_sparse context_sparse_values*context_sparse_types
        context_sparse_shapes*Ncontext_sparse context_dense_values*Tcontext_dense
        feature_list_sparse_indices*Nfeature_list_sparse feature_list_sparse_values*feature_list_sparse_types
        feature_list_sparse_shapes*Nfeature_list_sparse feature_list_dense_values*feature_list_dense_types
    Qr: q r
    QuantizeAndDequantizeV4Grad: input_backprop input_min_backprop input_max_backprop
    QuantizeDownAndShrinkRange QuantizeV2 QuantizedConcat QuantizedConcatV2 QuantizedReshape Requantize
        RequantizePerChannel: output output_min output_max
    QuantizedAdd QuantizedMul: z min_z max_z
    QuantizedAvgPool QuantizedConv2D QuantizedConv2DAndRelu QuantizedConv2DAndReluAndRequantize
        QuantizedConv2DAndRequantize QuantizedConv2DPerChannel QuantizedConv2DWithBias
        QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize
        QuantizedConv2DWithBiasAndRequantize QuantizedConv2DWithBiasSignedSumAndReluAndRequantize
        QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize QuantizedDepthwiseConv2D
        QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu
        QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize QuantizedMaxPool: output min_output max_output
    QuantizedBatchNormWithGlobalNormalization: result result_min result_max
    QuantizedBiasAdd: output min_out max_out
    QuantizedInstanceNorm: y y_min y_max
    QuantizedMatMul QuantizedMatMulWithBias QuantizedMatMulWithBiasAndRelu
        QuantizedMatMulWithBiasAndReluAndRequantize QuantizedMatMulWithBiasAndRequantize: out min_out max_out
    QuantizedRelu QuantizedRelu6 QuantizedReluX: activations min_activations max_activations
    QuantizedResizeBilinear: resized_images out_min out_max
    RaggedCross: output_values output_row_splits
    RaggedFillEmptyRows: output_value_rowids output_values empty_row_indicator reverse_index_map
    RaggedFillEmptyRowsGrad SparseFillEmptyRowsGrad: d_values d_default_value
    RaggedGather: output_nested_splits*OUTPUT_RAGGED_RANK output_dense_values
    RaggedRange: rt_nested_splits rt_dense_values
    RaggedTensorFromVariant: output_nested_splits*output_ragged_rank output_dense_values
    RaggedTensorToSparse: sparse_indices sparse_values sparse_dense_shape
    ReaderRead ReaderReadV2: key value
    RefSwitch Switch: output_false output_true
    RequantizationRange RequantizationRangePerChannel: output_min output_max
    SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 StatelessSampleDistortedBoundingBox: begin size bboxes
    Skipgram: vocab_word vocab_freq words_per_epoch current_epoch total_words_processed examples labels
    SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits: loss backprop
    SparseAccumulatorTakeGradient StringSplit StringSplitV2: indices values shape
    SparseAdd: sum_indices sum_values sum_shape
    SparseAddGrad: a_val_grad b_val_grad
    SparseConcat SparseCross SparseCrossHashed SparseCrossV2 SparseReduceMaxSparse SparseReduceSumSparse
        SparseSlice: output_indices output_values output_shape
    SparseFillEmptyRows: output_indices output_values empty_row_indicator reverse_index_map
    SparseReorder SparseSparseMaximum SparseSparseMinimum: output_indices output_values
    SparseReshape: output_indices output_shape
    SparseSegmentMeanGradV2 SparseSegmentSqrtNGradV2 SparseSegmentSumGradV2: output sorted_unique_indices
    SparseSplit: output_indices*num_split output_values*num_split output_shape*num_split
    StatelessRandomGetKeyCounter: key counter
    StatelessRandomGetKeyCounterAlg: key counter alg
    StringNGrams: ngrams ngrams_splits
    TensorArrayConcat TensorArrayConcatV2 TensorArrayConcatV3: value lengths
    TensorArrayGradV3 TensorArrayGradWithShape: grad_handle flow_out
    TensorArrayV3: handle flow
    TensorListConcat TensorListConcatV2: tensor lengths
    TensorListPopBack: output_handle tensor
    TopKUnique TopKWithUnique: topk topk_indices
    UnicodeDecode: row_splits char_values
    UnicodeDecodeWithOffsets: row_splits char_values char_to_byte_starts
    Unique UniqueV2: y idx
    UniqueWithCounts UniqueWithCountsV2: y idx count
    """
)
"""The output arguments of ops that have several; all other ops have one."""
